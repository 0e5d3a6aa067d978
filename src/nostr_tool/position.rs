//! How far a file has been imported, as a note in the store: an import that was interrupted goes on
//! there.
//!
//! A file is known by its size and its beginning, not by its name; what precedes the place is
//! compared as well. If any of it has changed, the import begins anew, which is slower but never
//! wrong: events that are stored already are skipped.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use corecast_nostr::{Store, StoreError, to_hex};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::lines::Place;

/// Bytes that are compared at the beginning of the file, and before the place.
const COMPARED_BYTES: u64 = 64 << 10;

/// Names of the notes begin with this.
const PREFIX: &str = "import/";

/// Most notes: imports that were interrupted and never finished. The oldest are forgotten.
const NOTES_MAX: usize = 16;

/// The value of a note, as JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    offset: u64,
    lines: u64,
    /// The hash of the bytes before the place.
    before: String,
    /// Seconds since 1970.
    at: u64,
}

/// The note about a file.
#[derive(Debug)]
pub(super) struct Bookmark {
    file: File,
    name: String,
}

impl Bookmark {
    /// The note about this file, which need not exist yet.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(super) fn of(file: &File) -> io::Result<Bookmark> {
        let file = file.try_clone()?;
        let size = file.metadata()?.len();
        let beginning = hash(&file, 0, size.min(COMPARED_BYTES))?;
        Ok(Bookmark {
            file,
            name: format!("{PREFIX}{size}-{beginning}"),
        })
    }

    /// The place from which an import goes on: the start, if nothing else is noted.
    ///
    /// # Errors
    ///
    /// The store or the file cannot be read.
    pub(super) fn place(&self, store: &dyn Store) -> anyhow::Result<Place> {
        let notes = store.notes()?;
        let note = notes.iter().find(|(name, _)| *name == self.name);
        let noted = note.and_then(|(_, json)| serde_json::from_slice::<Noted>(json).ok());
        let Some(noted) = noted else {
            return Ok(Place::default());
        };
        let place = Place {
            offset: noted.offset,
            lines: noted.lines,
        };
        let is_within = place.offset <= self.file.metadata()?.len();
        match is_within && self.before(place)? == noted.before {
            true => Ok(place),
            false => Ok(Place::default()),
        }
    }

    /// Notes that everything before `place` is in the store.
    ///
    /// # Errors
    ///
    /// The store or the file fails.
    pub(super) fn set(&self, store: &dyn Store, place: Place) -> anyhow::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let noted = Noted {
            offset: place.offset,
            lines: place.lines,
            before: self.before(place)?,
            at: now.unwrap_or_default().as_secs(),
        };
        self.make_room(store)?;
        store.set_note(&self.name, Some(&serde_json::to_vec(&noted)?))?;
        Ok(())
    }

    /// Removes the note: the whole file is in the store.
    ///
    /// # Errors
    ///
    /// The store fails.
    pub(super) fn remove(&self, store: &dyn Store) -> Result<(), StoreError> {
        let exists = store.notes()?.iter().any(|(name, _)| *name == self.name);
        match exists {
            true => store.set_note(&self.name, None),
            false => Ok(()),
        }
    }

    fn before(&self, place: Place) -> io::Result<String> {
        let start = place.offset.saturating_sub(COMPARED_BYTES);
        hash(&self.file, start, place.offset)
    }

    fn make_room(&self, store: &dyn Store) -> Result<(), StoreError> {
        let notes = store.notes()?.into_iter();
        let others = notes.filter(|(name, _)| name.starts_with(PREFIX) && *name != self.name);
        let mut others: Vec<(u64, String)> = others
            .map(|(name, json)| {
                let noted = serde_json::from_slice::<Noted>(&json);
                (noted.map_or(0, |noted| noted.at), name)
            })
            .collect();
        others.sort();
        let surplus = (others.len() + 1).saturating_sub(NOTES_MAX);
        others
            .iter()
            .take(surplus)
            .try_for_each(|(_, name)| store.set_note(name, None))
    }
}

/// The SHA-256 of a part of the file, in hexadecimal digits.
fn hash(file: &File, from: u64, to: u64) -> io::Result<String> {
    let mut bytes = vec![0; usize::try_from(to - from).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, from)?;
    let mut context = Context::new(&SHA256);
    context.update(&bytes);
    Ok(to_hex(context.finish().as_ref()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use corecast_nostr::MemoryStore;

    use super::*;

    const PLACE: Place = Place {
        offset: 100_000,
        lines: 7,
    };

    /// A bookmark in a new file with this text.
    fn bookmark(directory: &tempfile::TempDir, name: &str, text: &str) -> Bookmark {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("a file");
        Bookmark::of(&File::open(path).expect("a file")).expect("a bookmark")
    }

    #[test]
    fn a_renamed_file_is_known_and_a_changed_one_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = MemoryStore::new(10);
        let text = "x".repeat(200_000);
        let first = bookmark(&directory, "a", &text);
        assert_eq!(first.place(&store).expect("a store"), Place::default());
        first.set(&store, PLACE).expect("a store");
        let place = |name: &str, text: &str| {
            let bookmark = bookmark(&directory, name, text);
            bookmark.place(&store).expect("a store")
        };
        assert_eq!(place("b", &text), PLACE);
        let mut changed = text.clone();
        changed.replace_range(99_999..100_000, "y");
        for other in [&changed, &format!("{text}x"), &format!("y{}", &text[1..])] {
            assert_eq!(place("c", other), Place::default());
        }
        first.remove(&store).expect("a store");
        assert_eq!(place("b", &text), Place::default());
        assert!(store.notes().expect("notes").is_empty());
    }

    #[test]
    fn a_damaged_note_begins_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = MemoryStore::new(10);
        let bookmark = bookmark(&directory, "a", "text");
        for value in [
            "",
            "{}",
            "{\"offset\":99,\"lines\":1,\"before\":\"\",\"at\":0}",
        ] {
            store
                .set_note(&bookmark.name, Some(value.as_bytes()))
                .expect("a note");
            assert_eq!(bookmark.place(&store).expect("a store"), Place::default());
        }
    }

    #[test]
    fn notes_of_unfinished_imports_are_bounded() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = MemoryStore::new(10);
        store.set_note("another", Some(b"1")).expect("a note");
        for number in 0..NOTES_MAX + 5 {
            let bookmark = bookmark(&directory, "a", &format!("file {number}"));
            let place = Place::default();
            bookmark.set(&store, place).expect("a note");
            assert!(bookmark.place(&store).is_ok_and(|found| found == place));
        }
        let notes = store.notes().expect("notes");
        assert_eq!(notes.len(), NOTES_MAX + 1);
        assert!(notes.iter().any(|(name, _)| name == "another"));
    }
}
