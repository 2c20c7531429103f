//! A query as text: names with what is said of them.

use std::collections::BTreeMap;

use crate::{Error, Limits};

/// What a query says under each name, once for each time that it does.
pub(super) struct Text(BTreeMap<String, Vec<String>>);

impl Text {
    pub(super) fn read(query: &str, limits: &Limits) -> Result<Self, Error> {
        if query.len() > limits.query_bytes {
            return Err(Error::criteria(format!("a query has at most {} bytes", limits.query_bytes)));
        }
        let mut names = BTreeMap::<_, Vec<_>>::new();
        for (name, text) in form_urlencoded::parse(query.as_bytes()) {
            names.entry(name.into_owned()).or_default().push(text.into_owned());
        }
        Ok(Self(names))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(name, texts)| (name.as_str(), texts.as_slice()))
    }

    /// The one text under a name; the data of a GET over a socket writes `null` as nothing.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Error> {
        match self.0.get(name).map(Vec::as_slice) {
            None => Ok(None),
            Some([text]) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(Error::criteria(format!("`{name}` is said more than once"))),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let number = text.parse().ok().filter(|number| i64::try_from(*number).is_ok());
        number.map(Some).ok_or_else(|| Error::criteria(format!("`{name}` must be a whole number, not {text:?}")))
    }

    /// Names between commas, or one each time.
    pub(super) fn list(&self, name: &str) -> Option<Vec<String>> {
        let texts = self.0.get(name)?;
        let names = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
        Some(names.filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }
}
