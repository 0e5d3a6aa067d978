//! The modules of each crate below the repository's root, found as the compiler finds them: from
//! the crate's first file along `mod x;`. Test-only code is left out.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

/// Names from a crate down to a module or an item. A crate has the name that others use for it, or
/// that of its first file if it is a binary.
pub(crate) type Names = Vec<String>;

/// A package: its name in code, and its folder, which is empty or ends in a slash.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) folder: String,
}

impl Package {
    /// Reads a manifest; `None` if it has no package.
    pub(crate) fn new(path: &str, manifest: &str) -> Option<Package> {
        let (_, package) = manifest.split_once("[package]")?;
        let name = package
            .lines()
            .find_map(|line| line.strip_prefix("name = \""))?;
        Some(Package {
            name: name.trim_end_matches('"').replace('-', "_"),
            folder: path.strip_suffix("Cargo.toml")?.to_owned(),
        })
    }

    /// The name of the crate that begins with this file; `None` if none does.
    fn crate_of(&self, path: &str) -> Option<String> {
        let inside = path.strip_prefix(&self.folder)?.strip_prefix("src/")?;
        let is_binary = match inside.strip_prefix("bin/") {
            Some(binary) => !binary.trim_end_matches("/main.rs").contains('/'),
            None => inside == "main.rs",
        };
        if inside == "lib.rs" {
            return Some(self.name.clone());
        }
        is_binary.then(|| path.to_owned())
    }
}

/// A module's file, and its code without tests and without the modules inside it.
pub(crate) struct Module {
    pub(crate) file: String,
    pub(crate) code: String,
}

/// The modules by name, and the files from which modules or tests were read.
#[derive(Default)]
pub(crate) struct Modules {
    pub(crate) by_names: BTreeMap<Names, Module>,
    read: BTreeSet<String>,
}

impl Modules {
    /// Finds all of them; panics if a file below `src` belongs to none.
    pub(crate) fn new(packages: &[Package], sources: &[Source]) -> Modules {
        let codes: BTreeMap<&str, &str> = sources
            .iter()
            .map(|source| (source.path.as_str(), source.code.as_str()))
            .collect();
        let mut modules = Modules::default();
        for package in packages {
            for (&file, code) in &codes {
                if let Some(name) = package.crate_of(file) {
                    let folder = &file[..=file.rfind('/').unwrap_or_default()];
                    let place = Place {
                        file: file.to_owned(),
                        folder: folder.to_owned(),
                        is_test: false,
                    };
                    modules.walk(&codes, vec![name], &place, code);
                }
            }
        }
        let folders: Vec<String> = packages
            .iter()
            .map(|package| format!("{}src/", package.folder))
            .collect();
        let unread: Vec<&&str> = codes
            .keys()
            .filter(|file| folders.iter().any(|folder| file.starts_with(folder)))
            .filter(|&&file| !modules.read.contains(file))
            .collect();
        assert!(unread.is_empty(), "no module is declared for {unread:?}");
        modules
    }

    /// Adds a module, then those that it declares.
    fn walk(&mut self, codes: &BTreeMap<&str, &str>, names: Names, place: &Place, code: &str) {
        self.read.insert(place.file.clone());
        let (code, tests) = if place.is_test {
            (String::new(), code.to_owned())
        } else {
            split_tests(code)
        };
        let (own, declared) = split_modules(&code);
        for module in declared {
            self.enter(codes, &names, place, &module);
        }
        let tests_place = Place {
            is_test: true,
            ..place.clone()
        };
        for module in split_modules(&tests).1 {
            self.enter(codes, &names, &tests_place, &module);
        }
        if !place.is_test {
            let file = place.file.clone();
            self.by_names.insert(names, Module { file, code: own });
        }
    }

    fn enter(
        &mut self,
        codes: &BTreeMap<&str, &str>,
        parent: &[String],
        place: &Place,
        module: &Declared<'_>,
    ) {
        let names = [parent, &[module.name.to_owned()]].concat();
        let inner = format!("{}{}", place.folder, module.name);
        let file = match module.body {
            Some(_) => place.file.clone(),
            // A file of another folder, which has a crate of its own.
            None if module.is_elsewhere => return,
            None => [".rs", "/mod.rs"]
                .map(|ending| format!("{inner}{ending}"))
                .into_iter()
                .find(|file| codes.contains_key(file.as_str()))
                .unwrap_or_else(|| panic!("{}: no file for {names:?}", place.file)),
        };
        let code = module.body.unwrap_or_else(|| codes[file.as_str()]);
        let place = Place {
            file,
            folder: inner + "/",
            is_test: place.is_test,
        };
        self.walk(codes, names, &place, code);
    }
}

/// The location of a module: its file, and the folder of its submodules.
#[derive(Clone)]
struct Place {
    file: String,
    folder: String,
    is_test: bool,
}

/// `mod name;`, or `mod name { body }`.
struct Declared<'a> {
    name: &'a str,
    body: Option<&'a str>,
    /// It has a `#[path]`.
    is_elsewhere: bool,
}

/// The code without the bodies of the modules inside it, and the modules that it declares.
fn split_modules(code: &str) -> (String, Vec<Declared<'_>>) {
    let mut own = String::new();
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = find_word(rest, "mod") {
        let (before, declaration) = rest.split_at(at);
        own.push_str(before);
        let (name, after) = first_word(declaration["mod".len()..].trim_start());
        let attributes = &own[own.rfind([';', '{', '}']).map_or(0, |at| at + 1)..];
        let is_elsewhere = attributes.contains("#[path");
        let (item, after) = after.split_at(item_length(after));
        rest = after;
        found.push(Declared {
            name,
            body: item.trim_start().starts_with('{').then_some(item),
            is_elsewhere,
        });
        own.push(';');
    }
    own.push_str(rest);
    (own, found)
}

/// The code without test-only items, and those items.
fn split_tests(code: &str) -> (String, String) {
    let (mut own, mut tests) = (String::new(), String::new());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(") {
        let (before, item) = rest.split_at(at);
        own.push_str(before);
        let end = item.find(']').map_or(item.len(), |at| at + 1);
        let (attribute, after) = item.split_at(end);
        rest = after;
        if is_for_tests(attribute) {
            let (item, after) = after.split_at(item_length(after));
            tests.push_str(item);
            rest = after;
        } else {
            own.push_str(attribute);
        }
    }
    own.push_str(rest);
    (own, tests)
}

/// Whether the attribute excludes the following item from normal builds.
fn is_for_tests(attribute: &str) -> bool {
    let Some(all) = attribute.strip_prefix("#[cfg(all(") else {
        return attribute == "#[cfg(test)]";
    };
    let is_plain = ["any(", "not("].iter().all(|other| !all.contains(other));
    is_plain && find_word(all, "test").is_some()
}

/// Bytes of the item at the start of `text`: to its semicolon or its closing brace, or to the end
/// of the surrounding block.
fn item_length(text: &str) -> usize {
    let mut depth = 0;
    for (at, letter) in text.char_indices() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return at,
            ')' | ']' => depth -= 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether a name may contain it.
pub(crate) fn is_of_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The name at the start of `text`, which may be empty, and the rest.
pub(crate) fn first_word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c| !is_of_name(c)).unwrap_or(text.len()))
}

/// The first position of `word` as a whole word.
pub(crate) fn find_word(text: &str, word: &str) -> Option<usize> {
    let mut places = text.match_indices(word).map(|(at, _)| at);
    places.find(|&at| {
        let after = &text[at + word.len()..];
        !text[..at].ends_with(is_of_name) && !after.starts_with(is_of_name)
    })
}
