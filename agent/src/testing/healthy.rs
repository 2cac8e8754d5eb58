//! A healthy company: seasons of day and week, a nightly batch, rare features, noise. Nothing in it is an incident.

use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::World;

/// What is generated.
#[derive(Debug, Clone)]
pub(crate) struct Healthy {
    /// Seed of all chance.
    pub(crate) seed: u64,
    /// First instant.
    pub(crate) from: DateTime<Utc>,
    /// End.
    pub(crate) until: DateTime<Utc>,
    /// Prefix of every name.
    pub(crate) prefix: String,
    /// Multiplies all traffic.
    pub(crate) scale: f64,
    /// Whether new Sentry issues come in bursts.
    pub(crate) bursts: bool,
}

/// Features: name, calls an hour, calls a request, dollars a call, kind of output.
const FEATURES: &[(&str, f64, u32, f64, &str)] = &[
    ("answer", 9.0, 1, 0.012, "object"),
    ("write", 8.0, 1, 0.09, "text"),
    ("assist", 6.0, 2, 0.11, "object"),
    ("tag", 3.0, 1, 0.05, "mixed"),
    ("rare", 0.08, 1, 0.6, "object"),
];

impl Healthy {
    pub(crate) fn new(seed: u64, from: DateTime<Utc>, until: DateTime<Utc>) -> Self {
        Self { seed, from, until, prefix: String::new(), scale: 1.0, bursts: true }
    }

    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// How busy an instant is, 1 on average.
    fn season(at: DateTime<Utc>) -> f64 {
        let hour = f64::from(at.hour()) + f64::from(at.minute()) / 60.0;
        let day = 1.0 + 0.75 * ((hour - 9.0) / 24.0 * std::f64::consts::TAU).sin();
        let week = if at.weekday().number_from_monday() > 5 { 0.5 } else { 1.2 };
        day * week
    }

    /// Arrivals of a Poisson process of `rate` an hour with seasons.
    fn arrivals(&self, rng: &mut StdRng, rate: f64) -> Vec<DateTime<Utc>> {
        let peak = rate * self.scale * 1.75 * 1.2;
        let mut at = self.from;
        let mut times = Vec::new();
        if peak <= 0.0 {
            return times;
        }
        loop {
            let wait = -(1.0 - rng.random::<f64>()).ln() / peak * 3_600_000.0;
            at += TimeDelta::milliseconds((wait as i64).max(1));
            if at >= self.until {
                return times;
            }
            if rng.random::<f64>() < Self::season(at) / (1.75 * 1.2) {
                times.push(at);
            }
        }
    }

    pub(crate) fn world(&self) -> World {
        let mut world = World::default();
        let mut rng = StdRng::seed_from_u64(self.seed);
        for (name, rate, calls, cost, kind) in FEATURES {
            for at in self.arrivals(&mut rng, *rate) {
                let trace = world.next_id("trace");
                for call in 0..*calls {
                    let cost = cost * (0.6 + 0.8 * rng.random::<f64>());
                    let output = output(&mut rng, kind);
                    world.generation_in(
                        &trace,
                        &self.name(name),
                        at + TimeDelta::seconds(i64::from(call) * 6),
                        cost,
                        &output,
                    );
                }
                if *kind == "object" && rng.random::<f64>() < 0.6 {
                    world.tool(&trace, &self.name("lookup"), at - TimeDelta::seconds(2), &tool_output(&mut rng));
                }
                if *name == "write" && rng.random::<f64>() < 0.4 {
                    world.tool(
                        &trace,
                        &self.name("fetch"),
                        at - TimeDelta::seconds(2),
                        &Value::from("x".repeat(rng.random_range(40..600))),
                    );
                }
                if rng.random::<f64>() < 0.3 {
                    let value = (0.8 + 0.3 * (rng.random::<f64>() - 0.5)).clamp(0.0, 1.0);
                    world.score(&trace, "helpful", value, at + TimeDelta::minutes(3));
                    if rng.random::<f64>() < 0.5 {
                        world.score(
                            &trace,
                            "on-topic",
                            f64::from(u8::from(rng.random::<f64>() < 0.85)),
                            at + TimeDelta::minutes(4),
                        );
                    }
                }
            }
        }
        self.batch(&mut rng, &mut world);
        self.errors(&mut rng, &mut world);
        world
    }

    /// Each night at two, hundreds of calls within the half hour.
    fn batch(&self, rng: &mut StdRng, world: &mut World) {
        let mut night = self.from.date_naive().and_hms_opt(2, 0, 0).unwrap().and_utc();
        while night < self.until {
            for call in 0..(120.0 * self.scale) as i64 {
                let at = night + TimeDelta::seconds(call * 12 + rng.random_range(0..10));
                if at >= self.from && at < self.until {
                    world.generation(
                        &self.name("nightly"),
                        at,
                        0.03 * (0.8 + 0.4 * rng.random::<f64>()),
                        &json!({"summary": "s", "count": call}),
                    );
                }
            }
            night += TimeDelta::days(1);
        }
    }

    /// Old issues that tick along and new ones that come in bursts.
    fn errors(&self, rng: &mut StdRng, world: &mut World) {
        for issue in 0..3 {
            let times = self.arrivals(rng, 1.5);
            world.issue(&self.name(&format!("Timeout {issue}")), "app/http.py in get", &times, &json!([]));
        }
        for issue in 0..if self.bursts { 14 } else { 0 } {
            let span = (self.until - self.from).num_minutes();
            let start = self.from + TimeDelta::minutes(rng.random_range(0..span.max(1)));
            let times: Vec<_> = (0..rng.random_range(4..60))
                .map(|_| start + TimeDelta::seconds(rng.random_range(0..2400)))
                .filter(|at| *at < self.until)
                .collect();
            if !times.is_empty() {
                world.issue(&self.name(&format!("KeyError {issue}")), "app/cart.py in total", &times, &json!([]));
            }
        }
    }
}

fn output(rng: &mut StdRng, kind: &str) -> Value {
    match kind {
        "object" => {
            if rng.random::<f64>() < 0.01 {
                return Value::from("I cannot answer that.");
            }
            let mut object = json!({"reply": "r".repeat(rng.random_range(10..200)), "confidence": rng.random::<f64>(), "lang": "en"});
            if rng.random::<f64>() < 0.7 {
                object["hint"] = if rng.random::<f64>() < 0.2 { Value::Null } else { json!("h") };
            }
            if rng.random::<f64>() < 0.5 {
                object["score"] = json!(rng.random_range(0..10));
            }
            object
        }
        "text" => Value::from("w".repeat(rng.random_range(1..900))),
        _ if rng.random::<f64>() < 0.5 => json!({"tag": "t"}),
        _ => Value::from("just a tag"),
    }
}

fn tool_output(rng: &mut StdRng) -> Value {
    if rng.random::<f64>() < 0.03 {
        return json!({"rows": []});
    }
    json!({"rows": (0..rng.random_range(1..12)).map(|i| json!({"id": i, "title": "t".repeat(20)})).collect::<Vec<_>>()})
}
