//! Files of a crate do not import each other in a circle: a lower file can be read, tested and
//! changed without the upper ones.
//!
//! A file is tied to another by each name of it that it imports or that its code names by a path. A
//! name that a module re-exports with `pub use` counts for the file that defines it, so a facade
//! ties nothing; an imported module counts only for the names used from it; a glob counts for the
//! module. Methods and test-only code are ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::imports::{Import, inline_paths, split_imports};
use crate::modules::{Modules, Names, Package};
use crate::source::{Source, files, relative, rust_sources};

/// The most re-exports that a path may go through.
const PASSED_ON_MAX: usize = 8;

/// The names of another file that tie a file to it, by the file and the other.
type Ties = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// A circle's files, in order.
type Circle = Vec<String>;

/// Resolves paths.
struct Paths {
    modules: Modules,
    /// Re-exports of a module with `pub use`: the name, and its origin.
    passed_on: BTreeMap<Names, BTreeMap<String, Names>>,
}

impl Paths {
    fn new(modules: Modules) -> Paths {
        let mut paths = Paths {
            modules,
            passed_on: BTreeMap::new(),
        };
        for (names, module) in &paths.modules.by_names {
            let (imports, _) = split_imports(&module.code);
            let imports = imports
                .into_iter()
                .filter(|import| import.is_public && import.name != "*")
                .filter_map(|import| {
                    let path = paths.absolute(names, &import.path, &BTreeMap::new())?;
                    Some((import.name, path))
                });
            let passed_on = imports.collect();
            paths.passed_on.insert(names.clone(), passed_on);
        }
        paths
    }

    /// The path from its crate on; `None` if it leads to an external crate, or if its first name is
    /// an item of the module.
    fn absolute(
        &self,
        module: &[String],
        path: &[String],
        imported: &BTreeMap<String, Names>,
    ) -> Option<Names> {
        let (first, below) = path.split_first()?;
        let child = [module, &path[..1]].concat();
        let parent = module.split_last().map(|(_, parent)| parent);
        let goes_up = below.first().is_some_and(|next| next == "super");
        let base = match first.as_str() {
            "crate" => module[..1].to_vec(),
            "self" if goes_up => return self.absolute(module, below, imported),
            "self" => module.to_vec(),
            "super" if goes_up => return self.absolute(parent?, below, imported),
            "super" => parent?.to_vec(),
            _ if imported.contains_key(first) => imported[first].clone(),
            _ if self.modules.by_names.contains_key(&child) => child,
            _ if self.modules.by_names.contains_key(&path[..1]) => path[..1].to_vec(),
            _ => return None,
        };
        Some([base, below.to_vec()].concat())
    }

    /// The module that an absolute path leads to, and the names inside it.
    fn resolve(&self, path: &[String]) -> Option<(Names, Names)> {
        let mut path = path.to_vec();
        for _ in 0..PASSED_ON_MAX {
            let has_module = |&length: &usize| self.modules.by_names.contains_key(&path[..length]);
            let length = (1..=path.len()).rev().find(has_module)?;
            let (module, inside) = path.split_at(length);
            let source = inside
                .first()
                .and_then(|name| self.passed_on.get(module)?.get(name))
                .filter(|source| **source != path);
            match source {
                Some(source) => path = [source.as_slice(), &inside[1..]].concat(),
                None => return Some((module.to_vec(), inside.to_vec())),
            }
        }
        None
    }

    /// The ties of one module.
    fn tie(&self, names: &Names, ties: &mut Ties) {
        let module = &self.modules.by_names[names];
        let (imports, code) = split_imports(&module.code);
        let modules = self.modules_of(names, &imports);
        let imports = imports
            .iter()
            .filter(|import| !import.is_public && !modules.contains_key(&import.name))
            .map(|import| &import.path);
        for path in imports.chain(&inline_paths(&code)) {
            let found = self.absolute(names, path, &modules);
            let Some((other, inside)) = found.and_then(|path| self.resolve(&path)) else {
                continue;
            };
            let other = &self.modules.by_names[&other].file;
            if *other != module.file {
                let name = match inside.join("::") {
                    whole if whole.is_empty() => "*".to_owned(),
                    name => name,
                };
                let file = ties.entry(module.file.clone()).or_default();
                file.entry(other.clone()).or_default().insert(name);
            }
        }
    }

    /// The imported modules, by their local names.
    fn modules_of(&self, names: &[String], imports: &[Import]) -> BTreeMap<String, Names> {
        let imports = imports.iter().filter(|import| import.name != "*");
        let modules = imports.filter_map(|import| {
            let path = self.absolute(names, &import.path, &BTreeMap::new())?;
            let (module, inside) = self.resolve(&path)?;
            inside.is_empty().then(|| (import.name.clone(), module))
        });
        modules.collect()
    }
}

/// How the files of the packages are tied to each other.
fn ties(packages: &[Package], sources: &[Source]) -> Ties {
    let paths = Paths::new(Modules::new(packages, sources));
    let mut ties = Ties::new();
    for names in paths.modules.by_names.keys() {
        paths.tie(names, &mut ties);
    }
    ties
}

/// The files that `file` is tied to, directly or through others.
fn reached<'a>(ties: &'a Ties, file: &'a str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut left = vec![file];
    while let Some(file) = left.pop() {
        for other in ties.get(file).into_iter().flat_map(BTreeMap::keys) {
            if found.insert(other.as_str()) {
                left.push(other);
            }
        }
    }
    found
}

/// The circles: files each of which reaches all others.
fn circles(ties: &Ties) -> BTreeSet<Circle> {
    let others_of: BTreeMap<&str, BTreeSet<&str>> = ties
        .keys()
        .map(|file| (file.as_str(), reached(ties, file)))
        .collect();
    let circle = |(file, others): (&&str, &BTreeSet<&str>)| {
        let files = others
            .iter()
            .filter(|&other| others_of.get(other).is_some_and(|back| back.contains(file)));
        files.map(|&file| file.to_owned()).collect::<Circle>()
    };
    let circles = others_of.iter().map(circle);
    circles.filter(|circle| !circle.is_empty()).collect()
}

/// Describes a circle: the ties and their names.
fn describe(circle: &[String], ties: &Ties) -> String {
    let mut text = "a circle:\n".to_owned();
    for file in circle {
        for (other, names) in &ties[file] {
            if circle.contains(other) {
                let names = Vec::from_iter(names.iter().map(String::as_str)).join(", ");
                text += &format!("    {file} -> {other}: {names}\n");
            }
        }
    }
    text
}

/// The packages below the root, each with the crates in its `src`.
fn packages() -> Vec<Package> {
    let manifests = files(&["Cargo.toml"]);
    let packages = manifests.iter().filter_map(|path| {
        let manifest = fs::read_to_string(path).expect("UTF-8");
        Package::new(&relative(path), &manifest)
    });
    packages.collect()
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let packages = packages();
    assert!(packages.len() > 4, "only {} packages", packages.len());
    let ties = ties(&packages, &rust_sources());
    assert!(ties.len() > 100, "only {} files import others", ties.len());
    let found = circles(&ties);
    let offences: String = found.iter().map(|circle| describe(circle, &ties)).collect();
    assert!(offences.is_empty(), "{offences}");
}

/// The ties of a package `planted` of these files.
fn planted(sources: &[(&str, &str)]) -> Ties {
    let manifest = "[workspace]\n\n[package]\nname = \"planted\"\n";
    let package = Package::new("Cargo.toml", manifest).expect("a package");
    let sources: Vec<Source> = sources
        .iter()
        .map(|(path, text)| Source::new(path, text))
        .collect();
    ties(&[package], &sources)
}

/// The circles of a crate with modules `a` and `b` of these texts and an empty module `c`.
fn circles_of(a: &str, b: &str) -> Vec<Circle> {
    let ties = planted(&[
        ("src/lib.rs", "mod a;\npub mod b;\nmod c;\n"),
        ("src/a.rs", a),
        ("src/b.rs", b),
        ("src/c.rs", "pub(crate) struct C;\n"),
    ]);
    Vec::from_iter(circles(&ties))
}

#[test]
fn siblings_that_import_each_other_are_a_circle() {
    let back = "use super::{c::C, a::{\n    A as B,\n}};\n";
    let circle = [["src/a.rs", "src/b.rs"]];
    for there in [
        "use crate::b::B;",
        "use planted::b::{self, B};",
        "fn f() { use super::b::*; }",
        "impl crate::b::B {}",
        "use crate::b;\nfn f() { b::f() }",
        "use crate::{c, b::{self as other}};\nfn f(x: other::B) {}",
        "use crate::b as other;\nuse other::B;",
        "mod inside { use super::super::b::B; }",
        "use self::super::b::B;",
    ] {
        assert_eq!(circles_of(there, back), circle, "{there}");
    }
    for not_there in [
        "",
        "// use crate::b::B;",
        "use crate::b;",
        "use crate::c::C;\nconst TEXT: &str = \"crate::b::B\";",
        "pub(in crate::b) fn f() {}",
        "use ::b::B;",
    ] {
        assert_eq!(circles_of(not_there, back), [[""; 0]; 0], "{not_there}");
    }
}

#[test]
fn a_circle_may_be_long_and_stands_alone() {
    let ties = planted(&[
        ("src/lib.rs", "mod a; mod b; mod c; mod d; mod e;"),
        ("src/a.rs", "use crate::b::B;"),
        ("src/b.rs", "use crate::c::C; use crate::d::D;"),
        ("src/c.rs", "use crate::a::{A, f};"),
        ("src/d.rs", "use crate::e::E;"),
        ("src/e.rs", ""),
    ]);
    let circles = Vec::from_iter(circles(&ties));
    assert_eq!(circles, [["src/a.rs", "src/b.rs", "src/c.rs"]]);
    assert_eq!(
        describe(&circles[0], &ties),
        "a circle:\n    src/a.rs -> src/b.rs: B\n    src/b.rs -> src/c.rs: C\n    \
         src/c.rs -> src/a.rs: A, f\n"
    );
}

#[test]
fn a_parent_and_its_child_are_a_circle() {
    for parent in ["mod a; use a::A;", "mod a; fn f() { a::f() }"] {
        for (root, child, text) in [
            ("src/main.rs", "src/a.rs", "use crate::B;"),
            (
                "src/bin/tool/main.rs",
                "src/bin/tool/a/mod.rs",
                "use super::B;",
            ),
            ("src/lib.rs", "src/a.rs", "fn f(x: planted::B) {}"),
            ("src/lib.rs", "src/a.rs", "use super::*;"),
        ] {
            let circles = circles(&planted(&[(root, parent), (child, text)]));
            let mut circle = [root, child];
            circle.sort_unstable();
            assert_eq!(Vec::from_iter(circles), [circle], "{parent} {text}");
        }
    }
}

#[test]
fn a_reexported_name_counts_for_its_defining_file() {
    let facade = "mod b;\nmod c;\npub use self::b::B;\npub(crate) use c::{C as D, inner};\n";
    let with = |b: &str, c: &str| {
        let ties = planted(&[
            ("src/lib.rs", "mod a;\npub use a::{B, D as E};"),
            ("src/a/mod.rs", facade),
            ("src/a/b.rs", b),
            ("src/a/c/mod.rs", c),
            ("src/a/c/inner.rs", ""),
        ]);
        Vec::from_iter(circles(&ties))
    };
    let circle = [["src/a/b.rs", "src/a/c/mod.rs"]];
    assert_eq!(with("use super::D;", "mod inner;"), [[""; 0]; 0]);
    assert_eq!(with("use super::D;", "mod inner; use super::B;"), circle);
    assert_eq!(
        with("use crate::E;", "mod inner; fn f() { crate::B::new() }"),
        circle
    );
    let by_module = "use super::inner; fn f() { inner::f() }";
    let back = "mod inner; use crate::a::B;";
    assert_eq!(with(by_module, back), [[""; 0]; 0]);
    let facade_has_more = with("use super::F;", "mod inner;");
    assert_eq!(facade_has_more, [[""; 0]; 0]);
}

#[test]
fn test_only_code_is_in_no_circle() {
    let back = "use crate::a::A;";
    for tests in [
        "#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}\n",
        "#[cfg(test)]\nuse crate::b::B;\n",
        "#[cfg(all(test, unix))]\nfn f(x: [u8; 3]) -> crate::b::B {}\n",
    ] {
        assert_eq!(circles_of(tests, back), [[""; 0]; 0], "{tests}");
        let and_more = format!("{tests}use crate::b::C;\n");
        assert_eq!(circles_of(&and_more, back).len(), 1, "{tests}");
    }
    for not_tests in [
        "#[cfg(not(test))]",
        "#[cfg(any(test, unix))]",
        "#[cfg(unix)]",
    ] {
        let text = format!("{not_tests}\nuse crate::b::B;\n");
        assert_eq!(circles_of(&text, back).len(), 1, "{not_tests}");
    }
    let files = [
        ("src/lib.rs", "mod a; mod b; #[cfg(test)] mod simulation;"),
        ("src/a.rs", "#[cfg(test)]\nmod tests;\nuse crate::b::B;"),
        ("src/a/tests.rs", "mod deeper; use super::*;"),
        ("src/a/tests/deeper.rs", "use super::*;"),
        ("src/b.rs", ""),
        ("src/simulation.rs", "use crate::a::A;"),
    ];
    let ties = planted(&files);
    let tied: Vec<&String> = ties.keys().collect();
    assert_eq!(tied, ["src/a.rs"]);
}
