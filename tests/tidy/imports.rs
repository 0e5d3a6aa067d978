//! The names of other modules in a module's code: by `use`, and by paths.

use crate::modules::{find_word, first_word, is_of_name};

/// One name that a `use` brings in.
#[derive(Debug, PartialEq)]
pub(crate) struct Import {
    /// As written, from the left; without a final `self`, and without the star of a glob.
    pub(crate) path: Vec<String>,
    /// Its local name, `*` for a glob.
    pub(crate) name: String,
    pub(crate) is_public: bool,
}

/// The imports of the code, and the code without these statements.
pub(crate) fn split_imports(code: &str) -> (Vec<Import>, String) {
    let mut found = Vec::new();
    let mut own = String::new();
    let mut rest = code;
    while let Some(at) = find_word(rest, "use") {
        let (before, statement) = rest.split_at(at);
        own.push_str(before);
        rest = &statement["use".len()..];
        // Otherwise the `use<'a>` of a type.
        if rest.starts_with(char::is_whitespace) {
            let (tree, after) = rest.split_once(';').unwrap_or((rest, ""));
            let visibility = &own[own.rfind([';', '{', '}', ']']).map_or(0, |at| at + 1)..];
            let is_public = find_word(visibility, "pub").is_some();
            let tree = tree.split_whitespace().collect::<Vec<_>>().join(" ");
            read_tree(&[], &tree, is_public, &mut found);
            own.push(';');
            rest = after;
        }
    }
    own.push_str(rest);
    (found, own)
}

/// Reads `a::{b, c::{self as d, e}, f::*}`, all of it below `prefix`.
fn read_tree(prefix: &[String], tree: &str, is_public: bool, found: &mut Vec<Import>) {
    let tree = tree.trim();
    if tree.is_empty() || tree.starts_with("::") {
        return;
    }
    if let Some((path, group)) = tree.split_once('{') {
        let prefix = [prefix, &segments(path)].concat();
        for part in parts(group.strip_suffix('}').unwrap_or(group)) {
            read_tree(&prefix, part, is_public, found);
        }
        return;
    }
    let (path, alias) = match tree.split_once(" as ") {
        Some((path, alias)) => (path, Some(alias.trim())),
        None => (tree, None),
    };
    let mut path = [prefix, &segments(path)].concat();
    let is_glob = path.last().is_some_and(|last| last == "*");
    if path
        .last()
        .is_some_and(|last| last == "self" || last == "*")
        && path.len() > 1
    {
        path.pop();
    }
    let name = match alias {
        _ if is_glob => "*",
        Some(alias) => alias,
        None => path.last().map_or("", String::as_str),
    };
    found.push(Import {
        name: name.to_owned(),
        path,
        is_public,
    });
}

fn segments(path: &str) -> Vec<String> {
    path.split("::")
        .map(|segment| segment.trim().to_owned())
        .filter(|segment| !segment.is_empty())
        .collect()
}

/// The parts of a group, whose own groups stay whole.
fn parts(group: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    group.split(move |letter| {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        depth == 0 && letter == ','
    })
}

/// The paths of two or more names in code without imports; those of a visibility are ignored.
pub(crate) fn inline_paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(is_of_name) {
        let before = &rest[..at];
        let is_inner = before.ends_with("::");
        let read = &code[..code.len() - rest.len() + at];
        let is_visibility = read.trim_end().ends_with("(in");
        let (first, mut after) = first_word(&rest[at..]);
        let mut path = vec![first.to_owned()];
        while let Some(more) = after.strip_prefix("::")
            && more.starts_with(is_of_name)
        {
            let (next, left) = first_word(more);
            path.push(next.to_owned());
            after = left;
        }
        if path.len() > 1 && !is_inner && !is_visibility {
            found.push(path);
        }
        rest = after;
    }
    found
}

#[test]
fn imports_are_read() {
    let code = "pub(in crate::a) use self::{\n    b as c,\n    d::{self, e::*},\n};\n\
                fn f() -> impl Sized + use<'_> { use x::Y as _; }\npub use g;";
    let (found, rest) = split_imports(code);
    let found: Vec<(String, &str, bool)> = found
        .iter()
        .map(|import| {
            (
                import.path.join("::"),
                import.name.as_str(),
                import.is_public,
            )
        })
        .collect();
    let expected = [
        ("self::b".to_owned(), "c", true),
        ("self::d".to_owned(), "d", true),
        ("self::d::e".to_owned(), "*", true),
        ("x::Y".to_owned(), "_", false),
        ("g".to_owned(), "g", true),
    ];
    assert_eq!(found, expected);
    assert_eq!(split_imports(&rest).0, []);
}

#[test]
fn paths_in_code_are_read() {
    let code = "pub(in crate::a) fn f(b: crate::b::B<c::D>) -> Vec<u8> { <E as F>::g(h).i::<J>() }";
    let found: Vec<String> = inline_paths(code)
        .iter()
        .map(|path| path.join("::"))
        .collect();
    assert_eq!(found, ["crate::b::B", "c::D"]);
}
