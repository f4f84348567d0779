//! Hosts to log in to, and how people name them.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::str::FromStr;

use granule_system::files;

/// A host to log in to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name for `ssh`: a name in the configuration of `ssh`, `host` or `user@host`.
    pub name: String,
    /// Trials to compute at a time there. The default is the number of its cores.
    pub threads: Option<u32>,
}

/// Errors in a list of hosts.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    #[error("`{}` is not a host: {problem}", .text.escape_debug())]
    Host { text: String, problem: &'static str },
    #[error("`{host}` is named twice")]
    Twice { host: String },
    #[error("no host is named")]
    None,
    #[error("cannot read the list of hosts {path}")]
    File { path: String, source: io::Error },
}

impl HostsError {
    pub fn help(&self) -> String {
        match self {
            HostsError::Twice { .. } => {
                "name it once; 8/HOST computes eight trials at a time there".to_owned()
            }
            HostsError::Host { .. } | HostsError::None | HostsError::File { .. } => {
                "write node1,ann@node2,8/node3, or @FILE with one a line; put options of `ssh` into its \
                    configuration, or after --"
                    .to_owned()
            }
        }
    }
}

impl FromStr for Host {
    type Err = HostsError;

    /// Parses `host` or `user@host`, with `N/` before it for N threads.
    fn from_str(text: &str) -> Result<Host, HostsError> {
        let wrong = |problem| HostsError::Host { text: text.to_owned(), problem };
        let (threads, name) = match text.split_once('/') {
            None => (None, text),
            Some((threads, name)) => match threads.parse() {
                Ok(threads @ 1..=1024_u32) => (Some(threads), name),
                _ => return Err(wrong("the text before / is not a number of threads from 1 to 1024")),
            },
        };
        if name.is_empty() {
            return Err(wrong("it has no name"));
        }
        // `ssh` would read it as an option. The command of a proxy may get user and host as separate words.
        if name.split('@').any(|part| part.starts_with('-')) {
            return Err(wrong("a host or user begins with a -"));
        }
        let is_allowed = |c: char| c.is_alphanumeric() || "._-@:%[]+".contains(c);
        if !name.chars().all(is_allowed) {
            return Err(wrong("it has characters that are not allowed in names"));
        }
        Ok(Host { name: name.to_owned(), threads })
    }
}

/// Longest list of hosts that is read, in bytes.
const LONGEST_LIST: u64 = 1 << 20;

/// Returns the hosts in a list with commas or, after an `@`, in a file with one a line. Text after a `#` is ignored.
///
/// # Errors
/// If an entry is not a host, a host is named twice, the list is empty, or the file cannot be read.
pub fn hosts(text: &str) -> Result<Vec<Host>, HostsError> {
    let of_file;
    let names: Vec<&str> = match text.strip_prefix('@') {
        None => text.split(',').collect(),
        Some(path) => {
            let read = files::read(Path::new(path), LONGEST_LIST).and_then(|bytes| {
                let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text");
                String::from_utf8(bytes).map_err(not_text)
            });
            of_file = read.map_err(|source| HostsError::File { path: path.to_owned(), source })?;
            let lines = of_file.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
            lines.filter(|line| !line.is_empty()).collect()
        }
    };
    let hosts: Vec<Host> = names.into_iter().map(str::parse).collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    match hosts.iter().find(|host| !seen.insert(&host.name)) {
        Some(twice) => Err(HostsError::Twice { host: twice.name.clone() }),
        None if hosts.is_empty() => Err(HostsError::None),
        None => Ok(hosts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        hosts(text).expect_err(text).to_string()
    }

    #[test]
    fn hosts_are_named_with_commas_or_in_a_file() {
        let host = |name: &str, threads| Host { name: name.to_owned(), threads };
        let three = [host("node1", None), host("ann@node2.lab", Some(8)), host("fd00::1", None)];
        assert_eq!(hosts("node1,8/ann@node2.lab,fd00::1").expect("hosts"), three);
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hosts");
        std::fs::write(&path, "# ours\nnode1\n\n  8/ann@node2.lab # has eight\nfd00::1\n").expect("written");
        assert_eq!(hosts(&format!("@{}", path.display())).expect("hosts"), three);
        std::fs::write(&path, "# none\n").expect("written");
        assert_eq!(told(&format!("@{}", path.display())), "no host is named");
        assert!(told("@nowhere").starts_with("cannot read the list of hosts nowhere"));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for (text, problem) in [
            ("", "`` is not a host: it has no name"),
            ("a,,b", "`` is not a host: it has no name"),
            ("-oProxyCommand=x", "begins with a -"),
            ("ann@-oProxyCommand", "begins with a -"),
            ("4/-oProxyCommand=x", "begins with a -"),
            ("0/a", "not a number of threads from 1 to 1024"),
            ("1025/a", "not a number of threads"),
            ("x/a", "not a number of threads"),
            ("4/", "it has no name"),
            ("a b", "characters that are not allowed in names"),
            ("a;b", "characters that are not allowed in names"),
            ("a\u{1b}b", "`a\\u{1b}b` is not a host"),
            ("a,b,2/a", "`a` is named twice"),
        ] {
            assert!(told(text).contains(problem), "{text:?}: {}", told(text));
        }
    }
}
