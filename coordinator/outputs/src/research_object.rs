//! A complete sweep as a research object: a zip archive with all output files and a description for programs.
//!
//! The description follows [RO-Crate 1.1](https://w3id.org/ro/crate/1.1) and the profile
//! [Workflow Run Crate 0.5](https://w3id.org/ro/wfrun/workflow/0.5). The sweep file is the workflow, and granule is the
//! program that runs it. All of it follows from the manifest, so the same directory gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use granule_sweep::{Sweep, to_yaml};
use granule_system::files::{self, Directory, Whole};
use granule_system::hex;
use granule_text::plural;
use jiff::{SignedDuration, Timestamp};
use nix::sys::stat::Mode;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::errors::{OutputError, failed};
use crate::file_record::FileRecord;
use crate::manifest::{self, CompletedRun, Manifest, ResolvedModel};
use crate::planned::{PlannedFile, PlannedFiles};
use crate::survey::LONGEST;

/// Name of the description. It is the first file of the archive.
pub const METADATA: &str = "ro-crate-metadata.json";

/// Beginning of the archive's comment. The version of granule follows.
pub const COMMENT: &str = "granule ";

/// Name of the sweep file in the archive.
const SWEEP: &str = "sweep.yaml";

/// Name of the author's sweep file in the archive.
const WRITTEN: &str = "sweep-as-written.yaml";

/// The format of numpy's files, which have no registered media type.
const NPY_FORMAT: &str = "https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html";

/// The licence of granule.
const MIT: &str = "https://spdx.org/licenses/MIT";

/// The profiles to which the description conforms: address, name and version.
const PROFILES: [(&str, &str, &str); 3] = [
    ("https://w3id.org/ro/wfrun/process/0.5", "Process Run Crate", "0.5"),
    ("https://w3id.org/ro/wfrun/workflow/0.5", "Workflow Run Crate", "0.5"),
    ("https://w3id.org/workflowhub/workflow-ro-crate/1.0", "Workflow RO-Crate", "1.0"),
];

/// A complete sweep to be written as a research object.
#[derive(Debug)]
pub struct ResearchObject<'a> {
    out: &'a Path,
    manifest: &'a Manifest,
    /// The manifest as it is on disk.
    manifest_bytes: Vec<u8>,
    sweep: &'a Sweep,
    /// The files of the manifest, with the condition and the seed of each.
    files: Vec<(&'a FileRecord, PlannedFile)>,
    /// Begin and end of the run.
    times: [String; 2],
    /// URL of the licence of the data.
    license: Option<&'a str>,
    /// Commit of this program.
    commit: &'a str,
}

/// Why a research object was not written.
#[derive(Debug, thiserror::Error)]
pub enum ResearchObjectError {
    /// A file differs from its record.
    #[error("{} {what}", path.display())]
    Changed { path: PathBuf, what: String },
    /// The manifest lists a file that its sweep does not have.
    #[error("the manifest lists {path}, but its sweep does not have this file")]
    Unplanned { path: String },
    /// The manifest's time cannot be read.
    #[error("the manifest has no readable time of its run: {0:?}")]
    Time(String),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("the archive cannot be encoded")]
    Zip(#[from] ZipError),
}

/// Content of a file in the archive.
enum Content<'a> {
    Bytes(&'a [u8]),
    /// A file of the output directory.
    Recorded(&'a FileRecord),
}

impl<'a> ResearchObject<'a> {
    /// Checks the manifest of a finished sweep.
    ///
    /// # Errors
    /// If it lists files that its sweep does not have, or has changed since it was read.
    pub fn new(
        out: &'a Path,
        manifest: &'a Manifest,
        sweep: &'a Sweep,
        license: Option<&'a str>,
        commit: &'a str,
    ) -> Result<ResearchObject<'a>, ResearchObjectError> {
        let path = out.join(manifest::NAME);
        let manifest_bytes = files::read(&path, LONGEST).map_err(failed("read", &path))?;
        if serde_json::from_slice::<Manifest>(&manifest_bytes).ok().as_ref() != Some(manifest) {
            return Err(ResearchObjectError::Changed {
                path,
                what: "was changed while it was read".to_owned(),
            });
        }
        // A manifest may come from anywhere. Only paths that a sweep makes become names in the archive.
        let mut planned: BTreeMap<String, PlannedFile> =
            PlannedFiles::new(sweep).iter().map(|file| (file.path.clone(), file)).collect();
        let files = manifest.files.iter().map(|record| {
            let file = planned.remove(&record.path);
            let unplanned = || ResearchObjectError::Unplanned { path: record.path.clone() };
            Ok((record, file.ok_or_else(unplanned)?))
        });
        Ok(ResearchObject {
            out,
            manifest,
            manifest_bytes,
            sweep,
            files: files.collect::<Result<_, ResearchObjectError>>()?,
            times: times(manifest).ok_or_else(|| ResearchObjectError::Time(manifest.run.started.clone()))?,
            license,
            commit,
        })
    }

    /// Writes the archive to this place, completely or not at all. Returns its numbers of files and bytes.
    ///
    /// # Errors
    /// If a file differs from its record, or the system refuses.
    pub fn write(&self, place: &Path) -> Result<(u64, u64), ResearchObjectError> {
        let sweep_file = to_yaml(self.sweep).into_bytes();
        let mut metadata =
            serde_json::to_vec_pretty(&self.metadata(&sweep_file)).expect("text and numbers can be written");
        metadata.push(b'\n');
        let mut entries: BTreeMap<&str, Content<'_>> =
            self.files.iter().map(|(record, _)| (record.path.as_str(), Content::Recorded(record))).collect();
        entries.insert(manifest::NAME, Content::Bytes(&self.manifest_bytes));
        entries.insert(SWEEP, Content::Bytes(&sweep_file));
        if let Some(text) = &self.manifest.run.sweep_file {
            entries.insert(WRITTEN, Content::Bytes(text.as_bytes()));
        }

        let (directory, name) = Directory::of(place).map_err(failed("create", place))?;
        directory.remove_leftovers().map_err(failed("create", place))?;
        let mut file =
            directory.write(&name, Mode::from_bits_truncate(0o666)).map_err(failed("create", place))?;
        let mut archive = ZipWriter::new(&mut file);
        archive.set_comment(concat!("granule ", env!("CARGO_PKG_VERSION")))?;
        let all = [(METADATA, Content::Bytes(&metadata))].into_iter().chain(entries);
        let mut count = 0;
        for (name, content) in all {
            if let Err(error) = self.add(&mut archive, (name, &content), place) {
                // When it is dropped, it would try to finish the file, and print an error if it cannot.
                std::mem::forget(archive);
                return Err(error);
            }
            count += 1;
        }
        archive.finish()?;
        let file = file.commit().map_err(failed("write", place))?;
        let bytes = file.metadata().map_err(failed("write", place))?.len();
        directory.sync().map_err(failed("write", place))?;
        Ok((count, bytes))
    }

    fn add(
        &self,
        archive: &mut ZipWriter<&mut Whole>,
        (name, content): (&str, &Content<'_>),
        place: &Path,
    ) -> Result<(), ResearchObjectError> {
        let bytes = match content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Recorded(record) => record.bytes,
        };
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .large_file(bytes >= u64::from(u32::MAX));
        archive.start_file(name, options)?;
        match content {
            Content::Bytes(bytes) => archive.write_all(bytes).map_err(failed("write", place))?,
            Content::Recorded(record) => self.copy(record, archive, place)?,
        }
        Ok(())
    }

    /// Copies a file of the output directory, and checks that it is the recorded one.
    fn copy(
        &self,
        FileRecord { path, bytes, sha256, .. }: &FileRecord,
        archive: &mut ZipWriter<&mut Whole>,
        place: &Path,
    ) -> Result<(), ResearchObjectError> {
        let path = self.out.join(path);
        let changed = |what: String| ResearchObjectError::Changed { path: path.clone(), what };
        let file = match files::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(changed("does not exist".to_owned()));
            }
            Err(error) => return Err(failed("read", &path)(error).into()),
        };
        let length = file.metadata().map_err(failed("read", &path))?.len();
        if length != *bytes {
            return Err(changed(format!("is {length} bytes long instead of {bytes}")));
        }
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 18];
        // The limit ends the loop even if the file grows.
        let mut file = file.take(*bytes);
        loop {
            let count = file.read(&mut buffer).map_err(failed("read", &path))?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
            archive.write_all(&buffer[..count]).map_err(failed("write", place))?;
        }
        let hash = hex(&hash.finalize());
        if hash != *sha256 {
            return Err(changed(format!("has SHA-256 {hash} instead of {sha256}")));
        }
        Ok(())
    }

    /// Returns the description.
    fn metadata(&self, sweep_file: &[u8]) -> Value {
        let Manifest { granule, sweep, run, set_aside, .. } = self.manifest;
        let [started, ended] = &self.times;
        let own = |bytes: &[u8]| (bytes.len(), hex(&Sha256::digest(bytes)));
        let mut graph = vec![json!({
            "@id": METADATA,
            "@type": "CreativeWork",
            "about": { "@id": "./" },
            "conformsTo": [{ "@id": "https://w3id.org/ro/crate/1.1" }, { "@id": PROFILES[2].0 }],
        })];
        let mut description = format!(
            "Results of the parameter sweep {}: {} × {} × {}, computed by granule {granule} with engine {}.",
            sweep.name,
            plural(sweep.conditions.len() as u64, "condition"),
            plural(sweep.seeds.len() as u64, "seed"),
            plural(u64::from(sweep.trials), "trial"),
            sweep.engine,
        );
        if !set_aside.is_empty() {
            description.push_str(&format!(
                " {} could not be computed; manifest.json lists them under set_aside.",
                plural(set_aside.len() as u64, "trial")
            ));
        }
        let results: Vec<Value> = self
            .files
            .iter()
            .map(|(record, _)| reference(&record.path))
            .chain([reference(manifest::NAME)])
            .collect();
        let written = run.sweep_file.as_deref();
        let sweep_files = [reference(SWEEP)].into_iter().chain(written.map(|_| reference(WRITTEN)));
        graph.push(json!({
            "@id": "./",
            "@type": "Dataset",
            "name": format!("Sweep {}", sweep.name),
            "description": description,
            "datePublished": ended,
            "license": { "@id": self.license.unwrap_or("#no-licence") },
            "conformsTo": PROFILES.map(|(id, ..)| json!({ "@id": id })),
            "mainEntity": reference(SWEEP),
            "mentions": [{ "@id": "#run" }, { "@id": "#exporter" }],
            "hasPart": results.iter().cloned().chain(sweep_files).collect::<Vec<_>>(),
        }));
        graph.extend(PROFILES.map(|(id, name, version)| {
            json!({ "@id": id, "@type": "CreativeWork", "name": name, "version": version })
        }));
        graph.push(match self.license {
            Some(url) => json!({ "@id": url, "@type": "CreativeWork", "name": url,
                "description": "The licence of the data in this crate" }),
            None => json!({ "@id": "#no-licence", "@type": "CreativeWork", "name": "No licence chosen",
                "description": "The author of this crate has not chosen a licence for its data. \
                    The licence of the software granule does not apply to the data." }),
        });
        self.describe_software(&mut graph);

        let (inputs, values) = self.describe_inputs(&mut graph);
        let outputs = self.describe_outputs(&mut graph);
        let mut requirements = vec![json!({ "@id": "#granule" })];
        if let Some(model) = &sweep.model {
            requirements.push(json!({ "@id": "#model" }));
            self.describe_model(model, &mut graph);
        }
        let (bytes, hash) = own(sweep_file);
        let mut workflow = json!({
            "@id": SWEEP,
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
            "name": format!("Sweep file of {}", sweep.name),
            "description": "The sweep with all conditions and values written out",
            "programmingLanguage": { "@id": "#sweep-files" },
            "softwareRequirements": compact(json!(requirements)),
            "input": inputs,
            "output": compact(json!(outputs)),
            "encodingFormat": "application/yaml",
            "contentSize": bytes.to_string(),
            "sha256": hash,
        });
        if let Some(text) = written {
            workflow["isBasedOn"] = reference(WRITTEN);
            let (bytes, hash) = own(text.as_bytes());
            graph.push(json!({
                "@id": WRITTEN,
                "@type": ["File", "SoftwareSourceCode"],
                "name": format!("Sweep file of {}, as its author wrote it", sweep.name),
                "description": about_written(run),
                "programmingLanguage": { "@id": "#sweep-files" },
                "encodingFormat": "application/yaml",
                "contentSize": bytes.to_string(),
                "sha256": hash,
            }));
        }
        graph.push(workflow);
        graph.push(json!({ "@id": "#sweep-files", "@type": "ComputerLanguage", "name": "granule sweep file",
            "version": "1", "description": "The sweep files of granule, in YAML" }));
        let (bytes, hash) = own(&self.manifest_bytes);
        graph.push(json!({
            "@id": manifest::NAME,
            "@type": "File",
            "name": manifest::NAME,
            "description": "All parameters of each condition, the run, and the hash of each array",
            "encodingFormat": "application/json",
            "contentSize": bytes.to_string(),
            "sha256": hash,
        }));
        graph.push(json!({
            "@id": "#run",
            "@type": "CreateAction",
            "name": format!("Run of the sweep {}", sweep.name),
            "description": format!(
                "The run that completed the sweep. It computed {} and reused {} of earlier runs.",
                plural(run.trials_computed, "trial"),
                plural(run.trials_reused, "stored trial"),
            ),
            "startTime": started,
            "endTime": ended,
            "actionStatus": "http://schema.org/CompletedActionStatus",
            "instrument": reference(SWEEP),
            "object": values,
            "result": compact(json!(results)),
        }));
        json!({
            "@context": [
                "https://w3id.org/ro/crate/1.1/context",
                { "sha256": "https://w3id.org/ro/terms/workflow-run#sha256" },
            ],
            "@graph": graph,
        })
    }

    /// Describes the granule that completed the sweep, and the one that writes the crate.
    fn describe_software(&self, graph: &mut Vec<Value>) {
        let of = |id: &str, version: String, description: &str| {
            json!({ "@id": id, "@type": "SoftwareApplication", "name": "granule", "softwareVersion": version,
                "license": { "@id": MIT }, "description": description })
        };
        let version = concat!(env!("CARGO_PKG_VERSION"), ", commit ");
        let commit =
            self.manifest.run.commit.as_ref().map_or(String::new(), |commit| format!(", commit {commit}"));
        graph.extend([
            of(
                "#granule",
                format!("{}{commit}", self.manifest.granule),
                "The program that completed the sweep",
            ),
            of("#exporter", format!("{version}{}", self.commit), "The program that wrote this crate"),
            json!({ "@id": MIT, "@type": "CreativeWork", "name": "MIT License",
                "description": "The licence of the software granule" }),
        ]);
    }

    /// Describes the keys of the sweep file and the parameters of the model. Returns references to them, and to the
    /// values of this sweep. A parameter has all values of the sweep's conditions, each once.
    fn describe_inputs(&self, graph: &mut Vec<Value>) -> (Vec<Value>, Vec<Value>) {
        let sweep = &self.manifest.sweep;
        let engine = format!("{} (revision {})", sweep.engine, sweep.engine_revision);
        let names: Vec<&str> = sweep.conditions.iter().map(|condition| condition.name.as_str()).collect();
        let mut inputs: Vec<(&str, String, &str, &str, Value)> = [
            ("engine", "Text", "The engine and its revision", json!(engine)),
            ("seeds", "Integer", "Seeds of the random numbers", json!(sweep.seeds)),
            ("trials", "Integer", "Number of trials for each condition and seed", json!(sweep.trials)),
            ("conditions", "Text", "Names of the conditions", json!(names)),
        ]
        .into_iter()
        .map(|(name, kind, about, value)| ("key", name.to_owned(), kind, about, value))
        .collect();
        let mut parameters: BTreeMap<&str, (Vec<&Value>, BTreeSet<&str>)> = BTreeMap::new();
        for condition in &sweep.conditions {
            for (path, value) in condition.parameters.iter() {
                let (values, seen) = parameters.entry(path).or_default();
                if seen.insert(value.as_str().unwrap_or_default()) {
                    values.push(value);
                }
            }
        }
        for (path, (values, _)) in parameters {
            let known = self.sweep.engine.space().parameters().iter().find(|of| of.path == path);
            let about = known.map_or("", |of| of.meaning);
            inputs.push(("parameter", path.to_owned(), "Text", about, json!(values)));
        }
        let mut references = (Vec::new(), Vec::new());
        for (group, name, kind, about, value) in inputs {
            let (input, id) =
                (encoded(&format!("#{group}-{name}")), encoded(&format!("#value-{group}-{name}")));
            references.0.push(json!({ "@id": input }));
            references.1.push(json!({ "@id": id }));
            graph.push(formal(&input, &name, kind, about));
            graph.push(json!({ "@id": id, "@type": "PropertyValue", "name": name, "value": compact(value),
                "exampleOfWork": { "@id": input } }));
        }
        references
    }

    /// Describes the kinds of arrays and the arrays. Returns references to the kinds.
    fn describe_outputs(&self, graph: &mut Vec<Value>) -> Vec<Value> {
        let kinds = self.sweep.engine.kinds();
        let id = |kind: usize| encoded(&format!("#output-{}", kinds[kind].key));
        let found: BTreeSet<usize> = self.files.iter().map(|(_, planned)| planned.file.kind).collect();
        graph.extend(found.iter().map(|&kind| formal(&id(kind), kinds[kind].key, "File", kinds[kind].about)));
        if !self.files.is_empty() {
            graph.push(json!({ "@id": NPY_FORMAT, "@type": "WebSite", "name": "The NPY format of numpy" }));
        }
        for (record, planned) in &self.files {
            let file = &planned.file;
            let mut description = format!(
                "{}; condition {}, seed {}; array of {}",
                kinds[file.kind].about,
                self.sweep.conditions[planned.condition].name,
                self.sweep.seeds[planned.seed],
                file.dtype,
            );
            if !file.axes.is_empty() {
                description.push_str(&format!(", axes: {}", file.axes.join(" × ")));
            }
            if !file.unit.is_empty() {
                description.push_str(&format!(", unit: {}", file.unit));
            }
            graph.push(json!({
                "@id": encoded(&record.path),
                "@type": "File",
                "name": record.path,
                "description": description,
                "encodingFormat": ["application/octet-stream", { "@id": NPY_FORMAT }],
                "contentSize": record.bytes.to_string(),
                "sha256": record.sha256,
                "exampleOfWork": { "@id": id(file.kind) },
            }));
        }
        found.into_iter().map(|kind| json!({ "@id": id(kind) })).collect()
    }

    /// Describes a model of the user's own. Its files are not in the output directory, so only their hashes are known.
    fn describe_model(&self, model: &ResolvedModel, graph: &mut Vec<Value>) {
        let file = |path: &String| encoded(&format!("#model/{path}"));
        let package = |name: &String| encoded(&format!("#package-{name}"));
        let parts: Vec<Value> = model.files.keys().map(|path| json!({ "@id": file(path) })).collect();
        let packages: Vec<Value> =
            self.manifest.run.versions.keys().map(|name| json!({ "@id": package(name) })).collect();
        graph.push(json!({
            "@id": "#model",
            "@type": "SoftwareSourceCode",
            "name": model.path,
            "description": "The model file. It is not in this crate; manifest.json has its text, and the \
                BLAKE3 hashes of the files that it lists.",
            "hasPart": compact(json!(parts)),
            "softwareRequirements": compact(json!(packages)),
        }));
        for (path, hash) in &model.files {
            let id = encoded(&format!("#model-hash/{path}"));
            graph.push(json!({ "@id": file(path), "@type": "CreativeWork", "name": path,
                "description": "A file of the model, not in this crate", "identifier": { "@id": id } }));
            graph.push(json!({ "@id": id, "@type": "PropertyValue", "name": "BLAKE3", "value": hash }));
        }
        for (name, version) in &self.manifest.run.versions {
            graph.push(json!({ "@id": package(name), "@type": "SoftwareApplication", "name": name,
                "softwareVersion": version }));
        }
    }
}

/// Describes the author's sweep file: that a run used it, and the variables and tables that it was used with.
fn about_written(run: &CompletedRun) -> String {
    let mut text = "The sweep file that the run read, with its comments.".to_owned();
    if !run.overrides.is_empty() {
        let set: Vec<String> = run.overrides.iter().map(|(name, value)| format!("{name}={value}")).collect();
        text.push_str(&format!(" Environment variables override it: {}.", set.join(" ")));
    }
    if !run.tables.is_empty() {
        let named: Vec<String> =
            run.tables.iter().map(|table| format!("{} (SHA-256 {})", table.path, table.sha256)).collect();
        text.push_str(&format!(
            " It reads conditions from tables that are not in this crate: {}. sweep.yaml does not need them.",
            named.join(", ")
        ));
    }
    text
}

/// Describes an input or output of the sweep file.
fn formal(id: &str, name: &str, kind: &str, about: &str) -> Value {
    json!({ "@id": id, "@type": "FormalParameter", "name": name, "additionalType": kind, "description": about })
}

/// Returns the element of a list of one element, as RO-Crate recommends, and other values as they are.
fn compact(value: Value) -> Value {
    match value {
        Value::Array(mut list) if list.len() == 1 => list.remove(0),
        value => value,
    }
}

fn reference(path: &str) -> Value {
    json!({ "@id": encoded(path) })
}

/// Encodes a relative path or a fragment as a URI.
fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let mut uri = String::new();
    for (at, &byte) in text.as_bytes().iter().enumerate() {
        if is_plain(byte) || (at == 0 && byte == b'#') {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

/// Returns the beginning and the end of the run. `None` if they cannot be read.
fn times(manifest: &Manifest) -> Option<[String; 2]> {
    let started: Timestamp = manifest.run.started.parse().ok()?;
    let ended =
        started.checked_add(SignedDuration::try_from_secs_f64(manifest.run.wall_seconds).ok()?).ok()?;
    Some([started, ended].map(|time| time.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()))
}
