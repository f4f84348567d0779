//! Dependencies between modules: no modules of a crate depend on each other in a circle.
//!
//! A module depends on another one if it names an item that is defined in the other's file. A name is followed through
//! re-exports to the item's definition. So a parent that only declares and re-exports its children causes no circle.
//! Code of tests, comments and strings do not count.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, UseTree, Visibility};

/// The name of a crate's root module.
const ROOT: &str = "crate";

#[test]
fn modules_need_each_other_in_no_circle() {
    let mut problems = Vec::new();
    let (workspace, crates) = crates();
    assert!(crates.len() > 3, "the workspace has several crates");
    let read = |path: &Path| fs::read_to_string(workspace.join(path)).ok();
    for (name, roots) in crates {
        for root in roots {
            problems.extend(judge(&name, &Modules::read(&root, &read).arrows()));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

/// The directory of the workspace, and its crates. Each has the package's name, and the root files of its library and
/// programs, relative to the workspace.
fn crates() -> (PathBuf, Vec<(String, Vec<PathBuf>)>) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(crate::ROOT)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let list = |value: &serde_json::Value| value.as_array().expect("a list").clone();
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let workspace = PathBuf::from(text(&metadata["workspace_root"]));
    let root = |target: &serde_json::Value| {
        let path = PathBuf::from(text(&target["src_path"]));
        path.strip_prefix(&workspace).expect("a member is in the workspace").to_owned()
    };
    let of_package = |package: &serde_json::Value| {
        let has = |target: &serde_json::Value, kind: &str| list(&target["kind"]).iter().any(|of| of == kind);
        let targets = list(&package["targets"]);
        let roots = ["lib", "bin"]
            .iter()
            .flat_map(|kind| targets.iter().filter(|target| has(target, kind)).map(root));
        (text(&package["name"]), roots.collect())
    };
    let crates = list(&metadata["packages"]).iter().map(of_package).collect();
    (workspace, crates)
}

/// Returns the circles in a crate's dependencies, as messages.
fn judge(name: &str, arrows: &[Arrow]) -> Vec<String> {
    let mut others: Vec<&Arrow> = arrows.iter().collect();
    let mut problems = Vec::new();
    while let Some(circle) = shortest_circle(&others) {
        let steps: Vec<String> = circle.iter().map(|arrow| format!("  {arrow}")).collect();
        problems.push(format!(
            "{name}: a circle of modules; move what they share into a module below them\n{}",
            steps.join("\n")
        ));
        let told: Vec<[String; 2]> =
            circle.iter().map(|arrow| [arrow.from.clone(), arrow.to.clone()]).collect();
        others.retain(|arrow| !told.iter().any(|[from, to]| arrow.from == *from && arrow.to == *to));
    }
    problems
}

/// A module's dependency on another one, and the first place that names it.
#[derive(Clone, Debug)]
struct Arrow {
    from: String,
    to: String,
    file: PathBuf,
    line: usize,
    /// The path that names the item.
    path: String,
}

impl fmt::Display for Arrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Arrow { from, to, file, line, path } = self;
        write!(f, "{from} → {to} ({}:{line}: {path})", file.display())
    }
}

/// The shortest chain of arrows from a module to another one.
fn way<'a>(arrows: &[&'a Arrow], from: &str, to: &str) -> Option<Vec<&'a Arrow>> {
    let mut last: BTreeMap<&str, &Arrow> = BTreeMap::new();
    let mut ends = VecDeque::from([from]);
    while let Some(end) = ends.pop_front() {
        for arrow in arrows.iter().filter(|arrow| arrow.from == end) {
            if arrow.to != from && !last.contains_key(arrow.to.as_str()) {
                last.insert(&arrow.to, arrow);
                ends.push_back(&arrow.to);
            }
        }
    }
    let mut way = vec![*last.get(to)?];
    while let Some(arrow) = last.get(way[way.len() - 1].from.as_str()) {
        way.push(arrow);
    }
    way.reverse();
    Some(way)
}

fn shortest_circle<'a>(arrows: &[&'a Arrow]) -> Option<Vec<&'a Arrow>> {
    let circle = |arrow: &&'a Arrow| {
        let back = way(arrows, &arrow.to, &arrow.from)?;
        Some([vec![*arrow], back].concat())
    };
    arrows.iter().filter_map(circle).min_by_key(Vec::len)
}

/// The modules of a crate, the root first.
#[derive(Default)]
struct Modules(Vec<Module>);

#[derive(Default)]
struct Module {
    parent: Option<usize>,
    file: PathBuf,
    /// The module whose file this is. It differs from the module itself only if the module is in braces.
    of_file: usize,
    /// Path from the root.
    name: String,
    children: BTreeMap<String, usize>,
    /// Names of the items that are defined here.
    items: BTreeSet<String>,
    /// Names from `use`, including re-exports. One name may stand for several things, such as a module and a function.
    imports: Vec<(String, Vec<String>)>,
    /// Modules in a `use` with `*`.
    globs: Vec<Vec<String>>,
    /// Paths in the code, and their lines.
    mentions: Vec<(Vec<String>, usize)>,
}

/// A target that a path may refer to.
#[derive(Clone, Copy)]
enum Target {
    Module(usize),
    /// An item of this module.
    Item(usize),
}

type ReadFile<'a> = &'a dyn Fn(&Path) -> Option<String>;

impl Modules {
    /// Reads the modules of the crate with this root file.
    fn read(root: &Path, read: ReadFile<'_>) -> Modules {
        let mut modules = Modules::default();
        let directory = root.parent().expect("a file is in a directory");
        modules.add_file(root, None, ROOT, directory, read);
        modules
    }

    /// Adds the module of a file, and its children. The children's files are in `directory`.
    fn add_file(
        &mut self,
        file: &Path,
        parent: Option<usize>,
        name: &str,
        directory: &Path,
        read: ReadFile<'_>,
    ) -> usize {
        let text = read(file).unwrap_or_else(|| panic!("{}: it cannot be read", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let at = self.0.len();
        self.0.push(Module {
            parent,
            file: file.to_owned(),
            of_file: at,
            name: name.to_owned(),
            ..Module::default()
        });
        if !is_of_tests(&parsed.attrs) {
            let mut reader = Reader { modules: self, at, directory: directory.to_owned(), depth: 0, read };
            reader.visit_file(&parsed);
        }
        at
    }

    /// Returns all arrows, each once.
    fn arrows(&self) -> Vec<Arrow> {
        let mut arrows: BTreeMap<(usize, usize), Arrow> = BTreeMap::new();
        for (at, module) in self.0.iter().enumerate() {
            for (path, line) in &module.mentions {
                for target in self.resolve(at, path, 0).unwrap_or_default() {
                    let Target::Item(to) = target else { continue };
                    let [from, to] = [at, to].map(|module| self.0[module].of_file);
                    let arrow = Arrow {
                        from: self.0[from].name.clone(),
                        to: self.0[to].name.clone(),
                        file: module.file.clone(),
                        line: *line,
                        path: path.join("::"),
                    };
                    if from != to && arrows.get(&(from, to)).is_none_or(|first| arrow.line < first.line) {
                        arrows.insert((from, to), arrow);
                    }
                }
            }
        }
        arrows.into_values().collect()
    }

    /// Resolves a path in a module. Returns `None` if its first name is unknown in this crate, and an empty list for
    /// items of other crates.
    fn resolve(&self, at: usize, path: &[String], depth: usize) -> Option<Vec<Target>> {
        let (first, rest) = path.split_first()?;
        let up = |module: usize| self.0[module].parent.unwrap_or(0);
        let mut found = match first.as_str() {
            "crate" => vec![Target::Module(0)],
            "self" => vec![Target::Module(at)],
            "super" => vec![Target::Module(up(at))],
            name => self.named(at, name, depth)?,
        };
        for name in rest {
            // Only a path through a module can lead to an item that is defined elsewhere.
            let modules: Vec<Target> =
                found.iter().copied().filter(|target| matches!(target, Target::Module(_))).collect();
            if modules.is_empty() {
                break;
            }
            found = Vec::new();
            for target in modules {
                let Target::Module(module) = target else { continue };
                found.extend(match name.as_str() {
                    "self" => vec![target],
                    "super" => vec![Target::Module(up(module))],
                    // An unknown name in a module comes from a macro.
                    name => self.named(module, name, depth).unwrap_or_else(|| vec![Target::Item(module)]),
                });
            }
        }
        Some(found)
    }

    /// Resolves a name in a module. Returns `None` for an unknown name.
    fn named(&self, at: usize, name: &str, depth: usize) -> Option<Vec<Target>> {
        /// The deepest chain of re-exports. A longer one is a circle of names.
        const DEEPEST: usize = 12;
        if depth > DEEPEST {
            return None;
        }
        let module = &self.0[at];
        let mut found: Vec<Target> =
            module.children.get(name).map(|child| Target::Module(*child)).into_iter().collect();
        if module.items.contains(name) {
            found.push(Target::Item(at));
        }
        let mut is_known = !found.is_empty();
        for (_, path) in module.imports.iter().filter(|(import, _)| import == name) {
            // An imported crate of the same name.
            let is_itself = path.len() == 1 && path[0] == name;
            is_known = true;
            found
                .extend(if is_itself { None } else { self.resolve(at, path, depth + 1) }.unwrap_or_default());
        }
        if !is_known {
            for glob in &module.globs {
                for target in self.resolve(at, glob, depth + 1).unwrap_or_default() {
                    if let Target::Module(of) = target
                        && of != at
                        && let Some(there) = self.named(of, name, depth + 1)
                    {
                        is_known = true;
                        found.extend(there);
                    }
                }
            }
        }
        is_known.then_some(found)
    }
}

/// Reads a module from its syntax.
struct Reader<'a> {
    modules: &'a mut Modules,
    at: usize,
    /// The directory with the files of its children.
    directory: PathBuf,
    /// The depth within the module's items. Items at a depth above 0 are not defined in the module.
    depth: usize,
    read: ReadFile<'a>,
}

impl Reader<'_> {
    fn module(&mut self) -> &mut Module {
        &mut self.modules.0[self.at]
    }

    fn mention(&mut self, path: Vec<String>, line: usize) {
        self.module().mentions.push((path, line));
    }

    fn child(&mut self, item: &syn::ItemMod) {
        let name = plain(&item.ident);
        if name == "tests" {
            return;
        }
        let parent = &self.modules.0[self.at];
        let path = if parent.name == ROOT { name.clone() } else { format!("{}::{name}", parent.name) };
        let directory = self.directory.join(&name);
        let child = match &item.content {
            Some((_, items)) => {
                let at = self.modules.0.len();
                let (file, of_file) = (parent.file.clone(), parent.of_file);
                let module = Module { parent: Some(self.at), file, of_file, name: path, ..Module::default() };
                self.modules.0.push(module);
                let mut reader =
                    Reader { modules: &mut *self.modules, at, directory, depth: 0, read: self.read };
                items.iter().for_each(|item| reader.visit_item(item));
                at
            }
            None => {
                let said = item.attrs.iter().find(|attribute| attribute.path().is_ident("path"));
                assert!(
                    said.is_none(),
                    "{}: the path of {path} is not where it is looked for",
                    parent.file.display()
                );
                let beside = self.directory.join(format!("{name}.rs"));
                let file = if (self.read)(&beside).is_some() { beside } else { directory.join("mod.rs") };
                self.modules.add_file(&file, Some(self.at), &path, &directory, self.read)
            }
        };
        self.module().children.insert(name, child);
    }

    /// Records the names of a `use`. A re-export alone makes no arrow.
    fn import(&mut self, tree: &UseTree, before: &[String], is_export: bool) {
        let (ident, name) = match tree {
            UseTree::Path(tree) => {
                return self.import(&tree.tree, &with(before, &tree.ident), is_export);
            }
            UseTree::Group(tree) => {
                return tree.items.iter().for_each(|tree| self.import(tree, before, is_export));
            }
            UseTree::Glob(_) => return self.module().globs.push(before.to_vec()),
            UseTree::Name(tree) if tree.ident == "self" => {
                (&tree.ident, before.last().cloned().unwrap_or_default())
            }
            UseTree::Name(tree) => (&tree.ident, plain(&tree.ident)),
            UseTree::Rename(tree) => (&tree.ident, plain(&tree.rename)),
        };
        let path = with(before, ident);
        if !is_export {
            self.mention(path.clone(), ident.span().start().line);
        }
        self.module().imports.push((name, path));
    }

    /// Reads the paths among the tokens of a macro call.
    fn tokens(&mut self, tokens: TokenStream) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        let is = |at: Option<usize>, punct: char| matches!(at.and_then(|at| trees.get(at)), Some(TokenTree::Punct(found)) if found.as_char() == punct);
        let mut at = 0;
        while at < trees.len() {
            match &trees[at] {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let before = |back: usize, punct| is(at.checked_sub(back), punct);
                    let is_part = before(1, '.') && !before(2, '.');
                    let is_variable = before(1, '$') && first != "crate";
                    let is_of_other_crate = before(1, ':') && before(2, ':');
                    let mut path = vec![plain(first)];
                    while is(Some(at + 1), ':')
                        && is(Some(at + 2), ':')
                        && let Some(TokenTree::Ident(next)) = trees.get(at + 3)
                    {
                        path.push(plain(next));
                        at += 3;
                    }
                    if !is_part && !is_variable && !is_of_other_crate {
                        self.mention(path, first.span().start().line);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, name): (&[Attribute], _) = match item {
            Item::Const(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            Item::Impl(item) => (&item.attrs, None),
            Item::Macro(item) => (&item.attrs, item.ident.as_ref()),
            Item::Mod(item) => (&item.attrs, None),
            Item::Static(item) => (&item.attrs, Some(&item.ident)),
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::Type(item) => (&item.attrs, Some(&item.ident)),
            Item::Union(item) => (&item.attrs, Some(&item.ident)),
            Item::Use(item) => (&item.attrs, None),
            _ => (&[], None),
        };
        if is_of_tests(attributes) {
            return;
        }
        match item {
            Item::Mod(item) => return self.child(item),
            Item::Use(item) => {
                let is_export = !matches!(item.vis, Visibility::Inherited);
                return if item.leading_colon.is_none() {
                    self.import(&item.tree, &[], is_export)
                };
            }
            _ => {}
        }
        if self.depth == 0
            && let Some(name) = name
        {
            let name = plain(name);
            self.module().items.insert(name);
        }
        self.depth += 1;
        visit::visit_item(self, item);
        self.depth -= 1;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_of_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_of_tests(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none()
            && let Some(first) = path.segments.first()
        {
            let names = path.segments.iter().map(|segment| plain(&segment.ident)).collect();
            self.mention(names, first.ident.span().start().line);
        }
        visit::visit_path(self, path);
    }

    /// A constant may be a pattern.
    fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
        self.mention(vec![plain(&pattern.ident)], pattern.ident.span().start().line);
        visit::visit_pat_ident(self, pattern);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.tokens(called.tokens.clone());
        visit::visit_macro(self, called);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
    }
}

/// The name without the prefix of a raw identifier.
fn plain(ident: &Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}

fn with(path: &[String], ident: &Ident) -> Vec<String> {
    path.iter().cloned().chain([plain(ident)]).collect()
}

/// Whether an item exists only in tests.
fn is_of_tests(attributes: &[Attribute]) -> bool {
    fn holds_in_tests_only(condition: TokenStream) -> bool {
        let trees: Vec<TokenTree> = condition.into_iter().collect();
        match trees.as_slice() {
            [TokenTree::Ident(word)] => word == "test",
            [TokenTree::Ident(word), TokenTree::Group(parts)] if word == "all" => {
                let parts: Vec<TokenTree> = parts.stream().into_iter().collect();
                parts
                    .split(|tree| matches!(tree, TokenTree::Punct(punct) if punct.as_char() == ','))
                    .any(|part| holds_in_tests_only(part.iter().cloned().collect()))
            }
            _ => false,
        }
    }
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => holds_in_tests_only(list.tokens.clone()),
        _ => false,
    })
}

/// The arrows of a crate made from these files.
fn made_up(files: &[(&str, &str)]) -> Vec<Arrow> {
    let read = |path: &Path| {
        files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned())
    };
    Modules::read(Path::new("src/lib.rs"), &read).arrows()
}

#[track_caller]
fn check(files: &[(&str, &str)], expected: &[&str]) {
    let found: Vec<String> = made_up(files).iter().map(Arrow::to_string).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_circle_is_found_and_shown() {
    let files = [
        ("src/lib.rs", "mod a;\nmod b;\npub mod c;\nmod d;\npub use a::A;\n"),
        ("src/a.rs", "//! Of `b`.\n\nuse crate::b::B;\n\npub struct A(B);\n"),
        ("src/b.rs", "use super::c;\n\npub struct B;\n\nfn f() -> c::C {\n    c::deep::make()\n}\n"),
        ("src/c/mod.rs", "pub(crate) mod deep;\n\npub struct C;\n"),
        (
            "src/c/deep.rs",
            "pub fn make() -> super::C {\n    format!(\"{}\", crate::A::name());\n    super::C\n}\n",
        ),
        ("src/d.rs", "use crate::{A, c::C};\n"),
    ];
    let arrows = made_up(&files);
    let around = "made-up: a circle of modules; move what they share into a module below them\n  \
                  a → b (src/a.rs:3: crate::b::B)\n  b → c::deep (src/b.rs:6: c::deep::make)\n  \
                  c::deep → a (src/c/deep.rs:2: crate::A::name)";
    assert_eq!(judge("made-up", &arrows), [around]);
}

#[test]
fn arrows_lead_to_where_an_item_is_defined() {
    let lib = ("src/lib.rs", "mod a;\nmod b;\n");
    // A parent that only re-exports has no arrow; a parent that uses what it re-exports has one.
    let inner = ("src/b/inner.rs", "pub const MOST: u32 = 1;\npub fn f() {}\n");
    let a = ("src/a.rs", "use crate::b::{self, f as g};\n\nconst A: u32 = b::MOST;\n");
    let to_inner = "a → b::inner (src/a.rs:1: crate::b::f)";
    check(&[lib, a, ("src/b.rs", "mod inner;\n\npub use inner::*;\n"), inner], &[to_inner]);
    let b = ("src/b.rs", "mod inner;\n\npub use self::inner::{MOST, f};\n\nfn h() {\n    f()\n}\n");
    check(&[lib, a, b, inner], &[to_inner, "b → b::inner (src/b.rs:6: f)"]);
    // Children may name items that their parent imports with a private `use`.
    let b = ("src/b.rs", "mod inner;\n\nuse crate::a::A;\n");
    let inner = ("src/b/inner.rs", "fn f() -> super::A {\n    super::super::a::made()\n}\n");
    let expected = ["b → a (src/b.rs:3: crate::a::A)", "b::inner → a (src/b/inner.rs:1: super::A)"];
    check(&[lib, ("src/a.rs", "pub struct A;\nmade_by_macro!();\n"), b, inner], &expected);
    // The root counts like other modules if it defines something.
    let root = ("src/lib.rs", "mod a;\n\npub enum Engine {\n    One,\n}\n\nfn f() {\n    a::f();\n}\n");
    let a = ("src/a.rs", "pub fn f() -> crate::Engine {\n    crate::Engine::One\n}\n");
    check(&[root, a], &["crate → a (src/lib.rs:8: a::f)", "a → crate (src/a.rs:1: crate::Engine)"]);
}

#[test]
fn code_within_macros_attributes_patterns_and_braces_counts() {
    let lib = ("src/lib.rs", "mod a;\nmod b;\n");
    let b = ("src/b.rs", "pub const MOST: u32 = 1;\n#[macro_use]\npub mod c {\n    pub struct C;\n}\n");
    for code in [
        "fn f() { g!(x.MOST, [crate::b::MOST]) }",
        "macro_rules! m { ($b:expr) => { $crate::b::MOST + $b }; }",
        "#[arg(value = crate::b::MOST)] struct A;",
        "fn f() { let _: Vec<Option<super::b::c::C>>; }",
        "fn f() { use crate::b; assert!(b::MOST == 1); }",
        "mod d { impl super::super::b::c::C { } }",
        "use crate::b::*; fn f() { match 1 { MOST => {} } }",
        "use super::b::c::{C as _};",
    ] {
        let found = made_up(&[lib, ("src/a.rs", code), b]);
        assert_eq!(found.len(), 1, "{code}: {found:?}");
        assert_eq!([&*found[0].from, &*found[0].to], ["a", "b"], "{code}");
    }
    for code in [
        "// use crate::b::MOST;\n/* crate::b::MOST */\n/// [`crate::b::MOST`]\nconst A: &str = \"crate::b::MOST\";",
        "#[cfg(test)]\nuse crate::b::MOST;\n#[cfg(all(unix, test))]\nfn f() { crate::b::MOST; }",
        "#[cfg(test)]\nmod inner { use crate::b::MOST; }\nmod tests;\n#[cfg(test)]\nmod of_tests;",
        "impl A { #[cfg(test)] fn f() { crate::b::MOST; } }",
        "use std::b::MOST; use b::MOST as B; fn f() { ::b::MOST; other::b::MOST; x.b.MOST; }",
        "use crate::b; use crate::b::c; pub(in crate::b) use crate::b::MOST;",
    ] {
        assert!(made_up(&[lib, ("src/a.rs", code), b]).is_empty(), "{code}");
    }
}
