//! The invented shop: its features, tools, people, channels and projects.
//!
//! Owns: names and the figures of a healthy day. Amounts are chosen so that a spike of one feature
//! shows in the total too, and so that no healthy hour comes near any threshold.

use std::fmt::Write as _;

use rand::Rng;
use rand::rngs::SmallRng;

use super::random::{around, pick};
use crate::item::quote;

pub(crate) const OWNER: &str = "acme-shop";
pub(crate) const REPO: &str = "shopfront";
pub(crate) const ORG: &str = "acme-shop";
pub(crate) const LANGFUSE_PROJECT: &str = "prj-shopfront";

/// What a feature answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Support,
    Copy,
    Checkout,
    Catalog,
    Digest,
    Fraud,
}

/// A feature: one name of generations.
#[derive(Debug, PartialEq)]
pub(crate) struct Feature {
    pub name: &'static str,
    pub model: &'static str,
    pub input_tokens: f64,
    pub output_tokens: f64,
    pub max_tokens: u32,
    /// Requests per hour, averaged over a day.
    pub requests: f64,
    /// Generations per request.
    pub generations: usize,
    pub answer: Answer,
    /// Tools and how often a request uses them.
    pub tools: &'static [(Tool, f64)],
    pub prompt: Option<(&'static str, u32)>,
}

/// A tool: one name of spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    LookupOrder,
    SearchProducts,
    ShippingRates,
    FetchInventory,
    LoadReviews,
}

pub(crate) const SUPPORT: &str = "support-reply";
pub(crate) const COPYWRITER: &str = "product-copywriter";
pub(crate) const CHECKOUT: &str = "checkout-assistant";
pub(crate) const CATALOG: &str = "catalog-agent";
pub(crate) const DIGEST: &str = "review-digest";

pub(crate) static FEATURES: [Feature; 6] = [
    Feature {
        name: SUPPORT,
        model: "gpt-4o-mini-2024-07-18",
        input_tokens: 1400.0,
        output_tokens: 220.0,
        max_tokens: 400,
        requests: 9.0,
        generations: 1,
        answer: Answer::Support,
        tools: &[(Tool::LookupOrder, 0.6)],
        prompt: Some((SUPPORT, 6)),
    },
    Feature {
        name: COPYWRITER,
        model: "claude-opus-4-1",
        input_tokens: 2400.0,
        output_tokens: 880.0,
        max_tokens: 900,
        requests: 9.0,
        generations: 1,
        answer: Answer::Copy,
        tools: &[],
        prompt: Some((COPYWRITER, 3)),
    },
    Feature {
        name: CHECKOUT,
        model: "claude-sonnet-4-5",
        input_tokens: 28_000.0,
        output_tokens: 700.0,
        max_tokens: 1200,
        requests: 10.0,
        generations: 1,
        answer: Answer::Checkout,
        tools: &[(Tool::SearchProducts, 0.6), (Tool::ShippingRates, 0.4)],
        prompt: None,
    },
    Feature {
        name: CATALOG,
        model: "gpt-4o-2024-11-20",
        input_tokens: 9000.0,
        output_tokens: 700.0,
        max_tokens: 1500,
        requests: 3.0,
        generations: 2,
        answer: Answer::Catalog,
        tools: &[(Tool::FetchInventory, 1.0), (Tool::FetchInventory, 1.0)],
        prompt: None,
    },
    Feature {
        name: DIGEST,
        model: "gpt-4o-mini-2024-07-18",
        input_tokens: 6000.0,
        output_tokens: 500.0,
        max_tokens: 700,
        requests: 4.0,
        generations: 1,
        answer: Answer::Digest,
        tools: &[(Tool::LoadReviews, 0.5)],
        prompt: Some((DIGEST, 2)),
    },
    Feature {
        name: "fraud-screen",
        model: "claude-haiku-3-5",
        input_tokens: 1800.0,
        output_tokens: 150.0,
        max_tokens: 300,
        requests: 5.0,
        generations: 1,
        answer: Answer::Fraud,
        tools: &[],
        prompt: None,
    },
];

/// A feature by name.
pub(crate) fn feature(name: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|feature| feature.name == name)
}

impl Tool {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Tool::LookupOrder => "lookup_order",
            Tool::SearchProducts => "search_products",
            Tool::ShippingRates => "get_shipping_rates",
            Tool::FetchInventory => "fetch_inventory",
            Tool::LoadReviews => "load_reviews",
        }
    }

    /// A healthy output, as JSON text; lengths stay within a fifth of each other.
    pub(crate) fn output(self, rng: &mut SmallRng) -> String {
        let sku = |rng: &mut SmallRng| format!("SKU-{:05}", rng.random_range(10_000..99_999));
        match self {
            Tool::LookupOrder => format!(
                r#"{{"order_id":"ORD-{}","status":"{}","items":[{{"sku":"{}","quantity":{}}}],"total":{:.2},"currency":"EUR","shipping":{{"carrier":"{}","eta_days":{}}}}}"#,
                rng.random_range(100_000..999_999),
                pick(rng, &["delivered", "in_transit", "preparing", "returned"]).unwrap_or(&"delivered"),
                sku(rng),
                rng.random_range(1..4),
                rng.random_range(9.0..240.0),
                pick(rng, &["DHL", "UPS", "PostNL"]).unwrap_or(&"DHL"),
                rng.random_range(1..6),
            ),
            Tool::SearchProducts => {
                let hits: Vec<String> = (0..4)
                    .map(|_| {
                        format!(
                            r#"{{"sku":"{}","title":"{}","price":{:.2},"in_stock":{}}}"#,
                            sku(rng),
                            pick(rng, &PRODUCTS).unwrap_or(&"Lamp"),
                            rng.random_range(9.0..180.0),
                            rng.random_bool(0.9)
                        )
                    })
                    .collect();
                format!(r#"{{"hits":[{}],"total":{}}}"#, hits.join(","), rng.random_range(4..60))
            }
            Tool::ShippingRates => format!(
                r#"{{"rates":[{{"carrier":"DHL","service":"standard","price":{:.2},"days":{}}},{{"carrier":"UPS","service":"express","price":{:.2},"days":1}}],"currency":"EUR"}}"#,
                rng.random_range(3.9..6.9),
                rng.random_range(2..5),
                rng.random_range(9.9..14.9),
            ),
            Tool::FetchInventory => {
                let rows: Vec<String> = (0..6)
                    .map(|_| {
                        format!(
                            r#"{{"sku":"{}","warehouse":"{}","on_hand":{:>3}}}"#,
                            sku(rng),
                            pick(rng, &["AMS", "BER", "LYS"]).unwrap_or(&"AMS"),
                            rng.random_range(100..900)
                        )
                    })
                    .collect();
                format!(r#"{{"as_of":"feed-{}","items":[{}]}}"#, rng.random_range(1000..9999), rows.join(","))
            }
            Tool::LoadReviews => quote(&format!(
                "{} reviews loaded for {}: mostly {} about {}.",
                rng.random_range(20..90),
                pick(rng, &PRODUCTS).unwrap_or(&"Lamp"),
                pick(rng, &["positive", "mixed", "critical"]).unwrap_or(&"mixed"),
                pick(rng, &["quality", "delivery", "packaging", "price"]).unwrap_or(&"price"),
            )),
        }
    }

    /// What the tool was asked, as JSON text.
    pub(crate) fn input(self, rng: &mut SmallRng) -> String {
        let key = match self {
            Tool::LookupOrder => "order_id",
            Tool::SearchProducts => "query",
            Tool::ShippingRates => "postcode",
            Tool::FetchInventory => "skus",
            Tool::LoadReviews => "product",
        };
        format!(r#"{{"{key}":"{}"}}"#, rng.random_range(10_000..99_999))
    }
}

pub(crate) const PRODUCTS: [&str; 10] = [
    "Oak side table",
    "Linen duvet set",
    "Cast iron pan",
    "Wool throw",
    "Ceramic vase",
    "Desk lamp",
    "Walnut shelf",
    "Cotton towel",
    "Glass carafe",
    "Rattan chair",
];

const CATEGORIES: [&str; 5] = ["billing", "shipping", "returns", "technical", "account"];

impl Feature {
    /// A healthy output, as JSON text.
    pub(crate) fn output(&self, rng: &mut SmallRng) -> String {
        let product = *pick(rng, &PRODUCTS).unwrap_or(&"Lamp");
        match self.answer {
            Answer::Support => {
                let category = *pick(rng, &CATEGORIES).unwrap_or(&"billing");
                let mut out = format!(
                    r#"{{"response":"Thanks for writing in about your {product}. We have looked into it and will follow up today.","confidence":{:.2},"category":"{category}""#,
                    rng.random_range(0.85..0.99)
                );
                // A key that some answers have and some have not is no contract.
                if rng.random_bool(0.35) {
                    out.push_str(r#","follow_up":"call""#);
                }
                out.push('}');
                out
            }
            Answer::Copy => quote(&copy(rng, product, 3)),
            // This feature stores its JSON as text, as many do.
            Answer::Checkout => quote(&format!(
                r#"{{"intent":"{}","reply":"The {product} fits your basket.","products":["{product}"],"quote_eur":{:.2}}}"#,
                pick(rng, &["add_item", "quote", "apply_voucher", "delivery_question"]).unwrap_or(&"quote"),
                rng.random_range(12.0..320.0)
            )),
            Answer::Catalog => format!(
                r#"{{"thought":"Stock for {product} has to be checked first.","action":"{}","action_input":{{"product":"{product}"}}}}"#,
                pick(rng, &["fetch_inventory", "update_listing", "finish"]).unwrap_or(&"finish")
            ),
            Answer::Digest => quote(&format!(
                "Customers like the {product} for its {} and ask for {}.",
                pick(rng, &["finish", "weight", "colour", "price"]).unwrap_or(&"price"),
                pick(rng, &["faster delivery", "more sizes", "better packaging", "spare parts"])
                    .unwrap_or(&"more sizes")
            )),
            Answer::Fraud => format!(
                r#"{{"risk":{:.2},"decision":"{}","reasons":["{}"]}}"#,
                rng.random_range(0.01..0.4),
                pick(rng, &["allow", "review"]).unwrap_or(&"allow"),
                pick(rng, &["known customer", "usual basket", "new address"]).unwrap_or(&"usual basket")
            ),
        }
    }

    /// What the feature was asked, as JSON text.
    pub(crate) fn input(&self, rng: &mut SmallRng) -> String {
        let product = pick(rng, &PRODUCTS).unwrap_or(&"Lamp");
        format!(
            r#"[{{"role":"system","content":"You are the {} of a home goods shop."}},{{"role":"user","content":"About the {product}, case {}"}}]"#,
            self.name,
            rng.random_range(1000..9999)
        )
    }

    /// Tokens of one healthy generation: input and output.
    pub(crate) fn tokens(&self, rng: &mut SmallRng) -> (u64, u64) {
        let input = around(rng, self.input_tokens, 0.12);
        let output = around(rng, self.output_tokens, 0.12);
        (input as u64, output as u64)
    }
}

/// Descriptive prose about a product.
pub(crate) fn copy(rng: &mut SmallRng, product: &str, sentences: usize) -> String {
    let mut text = format!("The {product}:");
    for _ in 0..sentences {
        let (quality, place) = (
            pick(rng, &["A quiet favourite", "Made to last", "Soft to the touch", "Honest materials"]),
            pick(rng, &["in every room.", "for long evenings.", "for small flats.", "for a lifetime."]),
        );
        // Writing to a String cannot fail.
        let _written = write!(text, " {} {}", quality.unwrap_or(&"Made"), place.unwrap_or(&"well."));
    }
    text
}

/// A person: GitHub login, name, Slack id.
#[derive(Debug)]
pub(crate) struct Person {
    pub login: &'static str,
    pub name: &'static str,
    pub slack: &'static str,
    pub id: u64,
}

pub(crate) static PEOPLE: [Person; 8] = [
    Person { login: "mira-okafor", name: "Mira Okafor", slack: "U01MIRAOKA", id: 1101 },
    Person { login: "jonas-lind", name: "Jonas Lind", slack: "U02JONASLI", id: 1102 },
    Person { login: "priya-raman", name: "Priya Raman", slack: "U03PRIYARA", id: 1103 },
    Person { login: "tomasz-wolak", name: "Tomasz Wolak", slack: "U04TOMASZW", id: 1104 },
    Person { login: "lea-fontaine", name: "Léa Fontaine", slack: "U05LEAFONT", id: 1105 },
    Person { login: "daniel-cho", name: "Daniel Cho", slack: "U06DANIELC", id: 1106 },
    Person { login: "sofia-marin", name: "Sofia Marín", slack: "U07SOFIAMA", id: 1107 },
    Person { login: "henrik-aas", name: "Henrik Aas", slack: "U08HENRIKA", id: 1108 },
];

/// A person by number, any number.
pub(crate) fn person(index: usize) -> &'static Person {
    PEOPLE.get(index % PEOPLE.len()).unwrap_or(&PEOPLE[0])
}

/// Slack channels: id, name, topic, whether people talk about incidents there.
pub(crate) const CHANNELS: [(&str, &str, &str, bool); 6] = [
    ("C0INCIDENT", "incidents", "What is broken right now", true),
    ("C0ENGINEER", "engineering", "Everything that ships", true),
    ("C0BACKEND1", "backend", "Services and jobs", true),
    ("C0ALERTS01", "alerts", "Machines talking", true),
    ("C0SUPPORT1", "support", "What customers say", false),
    ("C0RANDOM01", "random", "Lunch & cats", false),
];

/// A channel's id by name.
pub(crate) fn channel(name: &str) -> &'static str {
    CHANNELS.iter().find(|(_, known, ..)| *known == name).map_or("C0RANDOM01", |(id, ..)| id)
}

/// Sentry projects: id, slug, platform.
pub(crate) const PROJECTS: [(&str, &str, &str); 3] = [
    ("4507001", "shopfront-api", "python"),
    ("4507002", "shopfront-web", "javascript-react"),
    ("4507003", "agent-runtime", "python"),
];
