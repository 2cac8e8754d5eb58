//! scratch
#![allow(clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, unreachable_pub, missing_docs)]
use tripline_engine::*;
#[tokio::main]
async fn main() {
    let engine = Engine::new(std::sync::Arc::new(SystemClock), EngineOptions::default(), &[], vec![]).unwrap();
    let text = std::fs::read_to_string(std::env::args().nth(1).unwrap()).unwrap();
    for sql in text.split(";\n") {
        if sql.trim().is_empty() {
            continue;
        }
        println!("--- {}", sql.trim());
        let mut o = QueryOptions::default();
        o.params.insert("hours".into(), Param::Int(24));
        o.params.insert("hf".into(), Param::Float(24.0));
        o.params.insert("ids".into(), Param::TextList(vec![]));
        o.params.insert("ids2".into(), Param::TextList(vec!["a".into(), "b".into()]));
        o.params.insert("t".into(), Param::Timestamp(chrono::Utc::now()));
        // drop unused
        o.params.retain(|k, _| sql.contains(&format!("${k}")));
        let t = std::time::Instant::now();
        match engine.collect(sql, o).await {
            Ok(r) => {
                println!("{}", datafusion::arrow::util::pretty::pretty_format_batches(&r.batches).unwrap());
            }
            Err(e) => println!("ERR {e}"),
        }
        println!("{:?}", t.elapsed());
    }
}
