//! A plan as a text: `SEED`, or `SEED:0,3-7` for some of its steps, or `SEED:0,3-7!2` without a vault.

use crate::error::{Error, Result};
use crate::testing::sim::plan::Plan;
use std::fmt::{self, Write as _};
use std::str::FromStr;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seed)?;
        let all = Self::of(self.seed).steps.len();
        if self.steps.len() < all {
            let numbers: Vec<usize> = self.steps.iter().map(|(no, _)| *no).collect();
            write!(f, ":{}", ranges(&numbers))?;
        }
        if !self.without.is_empty() {
            write!(f, "!{}", ranges(&self.without))?;
        }
        Ok(())
    }
}

fn ranges(numbers: &[usize]) -> String {
    let mut out = String::new();
    let mut rest = numbers;
    while let Some(first) = rest.first() {
        let run = rest
            .iter()
            .zip(*first..)
            .take_while(|(a, b)| **a == *b)
            .count();
        let comma = if out.is_empty() { "" } else { "," };
        let written = match run {
            1 => write!(out, "{comma}{first}"),
            _ => write!(out, "{comma}{first}-{}", first + run - 1),
        };
        written.expect("writing to a text does not fail");
        rest = rest.get(run..).unwrap_or_default();
    }
    out
}

fn numbers(text: &str) -> Result<Vec<usize>> {
    let bad = |_| Error::invalid("steps are numbers and ranges: 0,3-7");
    let mut out = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) =
            (first.parse().map_err(bad)?, last.parse().map_err(bad)?);
        out.extend(first..=last.min(first.saturating_add(10_000)));
    }
    Ok(out)
}

impl FromStr for Plan {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (text, without) = text.split_once('!').unwrap_or((text, ""));
        let (seed, steps) = match text.split_once(':') {
            Some((seed, steps)) => (seed, Some(numbers(steps)?)),
            None => (text, None),
        };
        let seed = seed
            .parse()
            .map_err(|_| Error::invalid("a seed is a number"))?;
        let mut plan = Self::of(seed);
        if let Some(steps) = steps {
            plan.steps.retain(|(no, _)| steps.contains(no));
        }
        plan.without = numbers(without)?;
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_comes_back_from_its_text() {
        for seed in 0..50 {
            let mut plan = Plan::of(seed);
            assert_eq!(plan.to_string().parse::<Plan>().unwrap(), plan);
            plan.steps.retain(|(no, _)| no % 3 != 1);
            plan.without = vec![1];
            assert_eq!(plan.to_string().parse::<Plan>().unwrap(), plan);
        }
        assert!("x".parse::<Plan>().is_err() && "1:a".parse::<Plan>().is_err());
    }
}
