//! XML, as far as it is written here: elements with attributes, and text where there are no more.

use std::fmt;

/// An element, and what is in it.
#[derive(Clone, Debug)]
pub(super) struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    children: Vec<Self>,
    text: String,
}

impl Element {
    /// An element with nothing in it.
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            attributes: Vec::new(),
            children: Vec::new(),
            text: String::new(),
        }
    }

    /// The same with an attribute.
    pub(super) fn with(mut self, attribute: &'static str, value: impl Into<String>) -> Self {
        self.attributes.push((attribute, value.into()));
        self
    }

    /// The same with one more element in it.
    pub(super) fn holding(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    /// The same with `text` in it.
    pub(super) fn saying(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let Self { name, text, .. } = self;
        write!(f, "{:indent$}<{name}", "", indent = 2 * depth)?;
        for (attribute, value) in &self.attributes {
            write!(f, " {attribute}='{}'", escape(value))?;
        }
        if self.children.is_empty() {
            return match text.is_empty() {
                true => write!(f, "/>"),
                false => write!(f, ">{}</{name}>", escape(text)),
            };
        }
        writeln!(f, ">")?;
        for child in &self.children {
            child.write(f, depth + 1)?;
            writeln!(f)?;
        }
        write!(f, "{:indent$}</{name}>", "", indent = 2 * depth)
    }
}

/// Line by line, without an end of the last.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

/// Whether XML 1.0 has every character of `text`: it knows most control characters not even escaped
/// (section 2.2).
pub(super) fn can_say(text: &str) -> bool {
    text.chars().all(|c| match c {
        '\t' | '\n' | '\r' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        c => c >= ' ',
    })
}

/// `text` as it may stand between tags and in quotes of both kinds. White space in attributes
/// would be read as blanks if it were not escaped (section 3.3.3).
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&apos;"),
            '"' => escaped.push_str("&quot;"),
            '\t' => escaped.push_str("&#9;"),
            '\n' => escaped.push_str("&#10;"),
            '\r' => escaped.push_str("&#13;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_stand_in_each_other() {
        let disk = Element::new("disk")
            .with("type", "network")
            .holding(Element::new("readonly"))
            .holding(Element::new("source").holding(Element::new("name").saying("a<b")));
        let wanted = "<disk type='network'>\n  <readonly/>\n  <source>\n    <name>a&lt;b</name>\n  \
            </source>\n</disk>";
        assert_eq!(disk.to_string(), wanted);
    }

    #[test]
    fn what_means_something_in_xml_is_escaped() {
        let path = "/a'b\"c<d>e&f\tg\nh\rié";
        let element = Element::new("host").with("socket", path).to_string();
        let wanted = "<host socket='/a&apos;b&quot;c&lt;d&gt;e&amp;f&#9;g&#10;h&#13;ié'/>";
        assert_eq!(element, wanted);
    }

    #[test]
    fn what_xml_cannot_say_is_known() {
        assert!(can_say("/run/é\u{10ffff}\n"));
        for text in ["\0", "a\u{1b}", "\u{fffe}"] {
            assert!(!can_say(text), "{text:?}");
        }
    }
}
