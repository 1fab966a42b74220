//! What may be written in short: as a text, as a list of texts, or in full as a map. A fault of the
//! long form keeps its place and its words, which an untagged enum of serde's would lose.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess};
use serde::de::{Unexpected, Visitor};

/// A type that has a long form and shorter ones.
pub trait Short: Sized {
    /// The long form.
    type Long: DeserializeOwned;

    /// What is needed, in words.
    const EXPECTED: &'static str;

    /// From the long form.
    fn long(long: Self::Long) -> Self;

    /// From a text.
    fn text(text: String) -> Self;

    /// From a list of texts; none where a list says nothing.
    #[must_use]
    fn list(_: Vec<String>) -> Option<Self> {
        None
    }
}

/// Reads whichever form is there.
///
/// # Errors
/// None of the forms is there, or what is wrong with the one that is.
pub fn read<'de, T: Short, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(ShortVisitor(PhantomData))
}

struct ShortVisitor<T>(PhantomData<T>);

impl<'de, T: Short> Visitor<'de> for ShortVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(T::text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<T, A::Error> {
        let list = Vec::<String>::deserialize(SeqAccessDeserializer::new(items))?;
        T::list(list).ok_or_else(|| A::Error::invalid_type(Unexpected::Seq, &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::Long::deserialize(MapAccessDeserializer::new(map)).map(T::long)
    }
}
