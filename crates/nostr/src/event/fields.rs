//! Fields of an event that are kept only in its JSON.

use std::borrow::Cow;

use serde::Deserialize;

use super::Event;
use crate::json::Text;

#[derive(Deserialize)]
struct Content<'m> {
    #[serde(borrow)]
    content: Text<'m>,
}

#[derive(Deserialize)]
struct Tags {
    tags: Vec<Vec<String>>,
}

impl Event {
    /// Its content, which is decoded at each call.
    pub fn content(&self) -> Cow<'_, str> {
        let content: Option<Content<'_>> = serde_json::from_str(self.json()).ok();
        debug_assert!(content.is_some(), "the JSON is the relay's own");
        content.map_or(Cow::default(), |content| content.content.0)
    }

    /// All its tags, which are decoded at each call. [`Event::single_letter_tags`] costs less.
    pub fn tags(&self) -> Vec<Vec<String>> {
        let tags: Option<Tags> = serde_json::from_str(self.json()).ok();
        debug_assert!(tags.is_some(), "the JSON is the relay's own");
        tags.map_or(Vec::new(), |tags| tags.tags)
    }
}

#[cfg(test)]
mod tests {
    use crate::event::{Draft, Signer};

    #[test]
    fn content_and_tags_are_those_that_were_signed() {
        let content = "a \"quote\"\\, \n, \u{1}, é and 😀";
        let tags = vec![vec!["long".to_owned(), "\"\n".to_owned()], Vec::new()];
        for content in ["", "plain", content] {
            let event = Signer::new([1; 32]).expect("a key").sign(Draft {
                content: content.to_owned(),
                tags: tags.clone(),
                ..Draft::default()
            });
            assert_eq!((&*event.content(), event.tags()), (content, tags.clone()));
        }
    }
}
