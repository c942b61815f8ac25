//! Values come together again, whatever they replace.

use super::*;
use crate::doc::lean::coder::{Decoder, Encoder};
use crate::model::json::Json;
use proptest::prelude::*;

fn value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        "(0|-?[1-9][0-9]{0,6})(\\.[0-9]{1,3})?(E-?[0-9]{1,2})?"
            .prop_map(|n| Json::Number(n.into())),
        any::<String>().prop_map(|s| Json::string(&s)),
        "(obs|20[0-9]{2})-[0-9a-f]{8}".prop_map(|s| Json::string(&s)),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::Array),
            prop::collection::vec(("[a-c\"\\\\]{0,2}", inner), 0..5).prop_map(Json::object),
        ]
    })
}

type Pair = (Shapes, Texts);

fn code<C: Coder>(c: &mut C, side: &mut Pair, text: &str, old: Option<&str>) -> String {
    let mut out = String::new();
    let at = side.0.place(&mut side.1, "field");
    let mut hints = Hints::default();
    let (shapes, texts) = (&mut side.0, &mut side.1);
    shapes
        .value(c, texts, (at, 0), (text, old), &mut hints, &mut out)
        .expect("is coded");
    out
}

proptest! {
    #[test]
    fn values_come_together_again(values in prop::collection::vec((value(), any::<bool>()), 1..8)) {
        let texts: Vec<String> = values.iter().map(|(value, _)| value.text()).collect();
        let old = |i: usize| values[i].1.then(|| texts[i.checked_sub(1)?].as_str().into()).flatten();
        let (mut sender, mut receiver) = (Pair::default(), Pair::default());
        let mut c = Encoder::new();
        for (i, text) in texts.iter().enumerate() {
            code(&mut c, &mut sender, text, old(i));
        }
        let (numbers, text) = c.finish();
        let mut c = Decoder::new(&numbers, text).expect("is read");
        for (i, text) in texts.iter().enumerate() {
            prop_assert_eq!(&code(&mut c, &mut receiver, "", old(i)), text);
        }
        c.finish().expect("is read to the end");
        prop_assert_eq!(sender.1.held, receiver.1.held);
    }

    #[test]
    fn text_that_is_no_json_is_no_harm(text in any::<String>(), old in any::<String>()) {
        let (mut sender, mut receiver) = (Pair::default(), Pair::default());
        let mut c = Encoder::new();
        code(&mut c, &mut sender, &text, Some(&old));
        let (numbers, bytes) = c.finish();
        let mut c = Decoder::new(&numbers, bytes).expect("is read");
        prop_assert_eq!(code(&mut c, &mut receiver, "", Some(&old)), text);
    }
}

#[test]
fn an_item_more_costs_little() {
    let item = |n: u32| format!(r#"{{"code":"8480-6","id":"obs-{n:08x}","value":{n}.5}}"#);
    let list = |n: u32| format!("[{}]", (0..n).map(item).collect::<Vec<_>>().join(","));
    let (mut side, mut c) = (Pair::default(), Encoder::new());
    code(&mut c, &mut side, &list(40), None);
    let (first, _) = c.finish();
    let mut c = Encoder::new();
    code(&mut c, &mut side, &list(41), Some(&list(40)));
    let (second, text) = c.finish();
    assert!(
        second.len() < 16 && text.is_empty(),
        "{} {}",
        first.len(),
        second.len()
    );
}
