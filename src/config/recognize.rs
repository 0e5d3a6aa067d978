//! Whether a file that nobody named is a config of this relay or of one that it replaces.

use super::keys::{FLAT_KEYS, KEYS};
use super::tree::{self, Tree};

/// Whether a text has any key of a config, at the top: another program's file has none.
pub(crate) fn is_config(text: &str) -> bool {
    let Ok(Tree::Section(entries)) = tree::parse(text) else {
        return false;
    };
    entries.iter().any(|(name, _)| is_known(name))
}

fn is_known(name: &str) -> bool {
    let section = |path: &'static str| path.split('.').next();
    let mut sections = KEYS.iter().filter_map(|key| section(key.path));
    name == "endpoints"
        || sections.any(|section| section == name)
        || FLAT_KEYS.iter().any(|(flat, _)| *flat == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_has_a_key_of_ours_or_of_the_earlier_relay() {
        for ours in [
            r#"{"port": "3000"}"#,
            r#"{"api_key": "k", "other": 1}"#,
            r#"{"push_path": ""}"#,
            r#"{"server": {"port": 1}}"#,
            r#"{"endpoints": {}}"#,
        ] {
            assert!(is_config(ours), "{ours}");
        }
        for other in [
            "",
            "{}",
            "[1]",
            "{",
            r#"{"name": "app"}"#,
            r#"{"x": {"port": 1}}"#,
        ] {
            assert!(!is_config(other), "{other}");
        }
    }
}
