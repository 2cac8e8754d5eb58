//! A server of one thread that answers as it is told and keeps what it was sent.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: String,
    pub(crate) body: Value,
}

type Script = Arc<Mutex<VecDeque<(u16, &'static str)>>>;

/// Answers 202 unless its script says otherwise.
pub(crate) struct Server {
    pub(crate) url: String,
    requests: Receiver<Request>,
    script: Script,
    control: Arc<Mutex<Value>>,
    passing: Arc<Mutex<Value>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = channel();
        let script = Script::default();
        let control = Arc::new(Mutex::new(serde_json::json!({"state": "running"})));
        let passing = Arc::new(Mutex::new(serde_json::json!({})));
        let (answers, record, said) = (Arc::clone(&script), Arc::clone(&control), Arc::clone(&passing));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (sender, answers) = (sender.clone(), Arc::clone(&answers));
                let (record, said) = (Arc::clone(&record), Arc::clone(&said));
                std::thread::spawn(move || serve(&stream.unwrap(), &sender, &answers, &record, &said));
            }
        });
        Self { url, requests, script, control, passing }
    }

    /// The next answers to events, with extra headers.
    pub(crate) fn answer(&self, answers: &[(u16, &'static str)]) {
        self.script.lock().unwrap().extend(answers.iter().copied());
    }

    /// What is answered to events.
    pub(crate) fn say(&self, answer: Value) {
        *self.passing.lock().unwrap() = answer;
    }

    /// What run control answers.
    pub(crate) fn control(&self, record: Value) {
        *self.control.lock().unwrap() = record;
    }

    pub(crate) fn next(&self) -> Request {
        self.requests.recv_timeout(PATIENCE).expect("a request")
    }

    /// The next request to this path; others are passed over.
    pub(crate) fn next_to(&self, path: &str) -> Request {
        loop {
            let request = self.next();
            if request.path.starts_with(path) {
                return request;
            }
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.requests.try_recv().is_err()
    }
}

fn serve(
    stream: &TcpStream,
    sender: &Sender<Request>,
    answers: &Script,
    control: &Mutex<Value>,
    passing: &Mutex<Value>,
) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let (mut headers, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            headers.push_str(&line);
            headers.push('\n');
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let mut words = first.split_whitespace();
        let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let (status, extra, text) = if path.starts_with("/v1/runs/") {
            (200, "", control.lock().unwrap().to_string())
        } else {
            let (status, extra) = answers.lock().unwrap().pop_front().unwrap_or((202, ""));
            (status, extra, passing.lock().unwrap().to_string())
        };
        // Before the answer: whoever has the answer can find the request.
        let _ = sender.send(Request { method, path, headers, body });
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{extra}\r\n{text}", text.len());
        if (&*stream).write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// An address where nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
