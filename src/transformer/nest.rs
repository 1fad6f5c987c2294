//! Several values for one image, such as the faces of a photo: laid out in one flat list, so that the
//! next stage has full batches, and put together again.

use super::Rows;
use crate::error::Error;

/// How a flat list is folded back.
#[derive(Debug)]
pub struct Nest(Vec<Result<usize, Error>>);

/// The values of all rows in one list, and the way back. Rows that failed have none.
pub fn nest<T>(rows: Rows<Vec<T>>) -> (Vec<T>, Nest) {
    let mut flat = Vec::new();
    let counts = rows.into_iter().map(|row| {
        row.map(|values| {
            let count = values.len();
            flat.extend(values);
            count
        })
    });
    let counts = counts.collect();
    (flat, Nest(counts))
}

impl Nest {
    /// The results of the list as lists, one for each row. A result that failed fails its row, as does
    /// what failed before.
    pub fn fold<O>(self, results: Rows<O>) -> Rows<Vec<O>> {
        let mut results = results.into_iter();
        let fold = |count: Result<usize, Error>| {
            // The results of a row are taken even if one failed.
            let of_row: Vec<_> = results.by_ref().take(count?).collect();
            of_row.into_iter().collect()
        };
        self.0.into_iter().map(fold).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn lists_come_back_in_their_rows() {
        let error = |text: &str| Error::new(Kind::Invalid, text);
        let rows = vec![
            Ok(vec![1, 2]),
            Err(error("first")),
            Ok(vec![]),
            Ok(vec![3, 4]),
        ];
        let (flat, nest) = nest(rows);
        assert_eq!(flat, [1, 2, 3, 4]);
        let results = flat.into_iter().map(|value| match value {
            3 => Err(error("second")),
            value => Ok(value * 10),
        });
        let folded = nest.fold(results.collect());
        let texts: Vec<_> = folded
            .into_iter()
            .map(|row| row.map_err(|error| error.text))
            .collect();
        let failed = |text: &str| Err(text.to_owned());
        assert_eq!(
            texts,
            [
                Ok(vec![10, 20]),
                failed("first"),
                Ok(vec![]),
                failed("second")
            ]
        );
    }
}
