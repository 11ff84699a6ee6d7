//! Reading `/metrics`: the Prometheus text format, as far as tests need it.

use std::collections::BTreeMap;

/// One line of `/metrics`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// All of `/metrics`, of one process or of several together.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// In the order of the text.
    pub all: Vec<Sample>,
}

impl Samples {
    /// Reads the text; lines that are no sample (comments, `# EOF`) are left out.
    pub fn parse(text: &str) -> Self {
        Samples {
            all: text.lines().filter_map(sample).collect(),
        }
    }

    /// The sum of the samples of that name whose labels hold all of `labels`.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let holds = |s: &&Sample| {
            s.name == name
                && labels
                    .iter()
                    .all(|(k, v)| s.labels.get(*k).map(String::as_str) == Some(*v))
        };
        self.all.iter().filter(holds).map(|s| s.value).sum()
    }

    /// The samples of that name.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.all.iter().filter(move |s| s.name == name)
    }

    /// The sum of the samples whose name ends like that, whatever prefix their registry gives them.
    pub fn ending(&self, end: &str) -> f64 {
        let samples = self.all.iter().filter(|s| s.name.ends_with(end));
        samples.map(|s| s.value).sum()
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Samples) -> Self {
        self.all.extend(other.all);
        self
    }
}

fn sample(line: &str) -> Option<Sample> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let Some(open) = line.find('{') else {
        let (name, rest) = line.split_once(' ')?;
        let value = rest.split(' ').next()?.parse().ok()?;
        return Some(Sample {
            name: name.to_owned(),
            labels: BTreeMap::new(),
            value,
        });
    };
    let (labels, rest) = labels(&line[open + 1..])?;
    let value = rest.trim().split(' ').next()?.parse().ok()?;
    Some(Sample {
        name: line[..open].to_owned(),
        labels,
        value,
    })
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut all = BTreeMap::new();
    loop {
        text = text.trim_start_matches(',');
        if let Some(rest) = text.strip_prefix('}') {
            return Some((all, rest));
        }
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    c => value.push(c),
                },
                (_, c) => value.push(c),
            }
        };
        all.insert(name.to_owned(), value);
        text = &rest[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_labels_and_values() {
        let text = "# TYPE a counter\na_total{k=\"v\",l=\"x \\\"y\\\", {z}\"} 3\na_total{k=\"w\"} 4 1700000000\nb 0.5\n# EOF\n";
        let samples = Samples::parse(text);
        assert_eq!(samples.all.len(), 3);
        assert_eq!(samples.all[0].labels["l"], "x \"y\", {z}");
        assert_eq!(samples.sum("a_total", &[]), 7.0);
        assert_eq!(samples.sum("a_total", &[("k", "w")]), 4.0);
        assert_eq!(samples.sum("b", &[]), 0.5);
        assert_eq!(samples.ending("_total"), 7.0);
    }
}
