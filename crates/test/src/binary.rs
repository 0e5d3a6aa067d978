//! Where the binaries of a build are.

use std::path::PathBuf;

/// A binary of the package under test: cargo builds it before the test runs, and says where.
///
/// # Panics
///
/// If it is not there, as with a package that has no such binary.
pub fn binary(name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(format!("CARGO_BIN_EXE_{name}")) {
        return path.into();
    }
    // A test's own program is in deps/, one folder below the binaries.
    let own = std::env::current_exe().expect("the path of this program");
    let folder = own.parent().and_then(|deps| deps.parent());
    let path = folder.expect("a folder of builds").join(name);
    assert!(path.exists(), "{} is not built", path.display());
    path
}
