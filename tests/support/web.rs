//! Web servers on loopback that say what a test wants them to, and remember what they were asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// With the query.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The value of a name in the query.
    pub fn query(&self, name: &str) -> Option<String> {
        let query = self.path.split_once('?')?.1;
        query.split('&').find_map(|part| {
            let (known, value) = part.split_once('=')?;
            (known == name)
                .then(|| value.replace("%3A", ":").replace("%2F", "/").replace("%2C", ","))
        })
    }
}

/// What is said.
pub enum Said {
    /// A status, headers, and a body with its length.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes, as they are.
    Raw(Vec<u8>),
    /// These bytes, and then nothing, until the other side goes away.
    Stuck(Vec<u8>),
    /// A head, and then the same byte without end.
    Endless(String),
    /// These bytes, and then one of the others in each second.
    Drip(Vec<u8>, Vec<u8>),
    /// What the server at this port says to the same request, without what was shown to this one.
    Forward(u16),
}

/// An answer with a body and no headers of its own.
pub fn answer(status: u16, body: impl Into<Vec<u8>>) -> Said {
    Said::Answer(status, Vec::new(), body.into())
}

/// A server on loopback; it ends with the test.
pub struct Web {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    ends: Arc<AtomicBool>,
}

type Answers = dyn Fn(&Asked) -> Said + Send + Sync;

impl Web {
    pub fn start(answers: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        Web::serve(None, Box::new(answers))
    }

    /// With encryption, by a certificate and its key.
    pub fn start_tls(
        certificate: &Path,
        key: &Path,
        answers: impl Fn(&Asked) -> Said + Send + Sync + 'static,
    ) -> Self {
        let chain = CertificateDer::pem_file_iter(certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        Web::serve(Some(Arc::new(config)), Box::new(answers))
    }

    fn serve(tls: Option<Arc<ServerConfig>>, answers: Box<Answers>) -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let remembered = asked.clone();
        let answers: Arc<Answers> = Arc::from(answers);
        let (port, ends) = accept(move |stream| {
            let (answers, remembered) = (answers.clone(), remembered.clone());
            match tls.clone() {
                None => talk(stream, &*answers, &remembered),
                Some(tls) => {
                    let connection = ServerConnection::new(tls).unwrap();
                    let mut stream = StreamOwned::new(connection, stream);
                    talk(&mut stream, &*answers, &remembered);
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                }
            }
        });
        Web { port, asked, ends }
    }

    /// What was asked up to now.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Forgets what was asked.
    pub fn forget(&self) {
        self.asked.lock().unwrap().clear();
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Serves each connection in a thread of its own, until it is told to end and woken.
fn accept(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let ends = Arc::new(AtomicBool::new(false));
    let (told, serve) = (ends.clone(), Arc::new(serve));
    thread::spawn(move || {
        for stream in listener.incoming() {
            if told.load(Ordering::Relaxed) {
                return;
            }
            let serve = serve.clone();
            thread::spawn(move || serve(stream.unwrap()));
        }
    });
    (port, ends)
}

/// Reads one request, answers it, and closes the connection. The other side may be gone: that is its right.
fn talk(mut stream: impl Read + Write, answers: &Answers, remembered: &Mutex<Vec<Asked>>) {
    let Some(asked) = read_request(&mut stream) else { return };
    remembered.lock().unwrap().push(asked.clone());
    match answers(&asked) {
        Said::Raw(bytes) => drop(stream.write_all(&bytes)),
        Said::Stuck(bytes) => {
            let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
            let _ = stream.read(&mut [0]);
        }
        Said::Endless(head) => {
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(&[b'x'; 65536]).is_ok() {}
        }
        Said::Drip(bytes, drops) => {
            let _ = stream.write_all(&bytes);
            for drop in drops {
                thread::sleep(Duration::from_secs(1));
                if stream.write_all(&[drop]).and_then(|()| stream.flush()).is_err() {
                    break;
                }
            }
        }
        Said::Answer(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} Said\r\nConnection: close\r\n");
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
                head += &format!("Content-Length: {}\r\n", body.len());
            }
            for (name, value) in headers {
                head += &format!("{name}: {value}\r\n");
            }
            let _ = stream.write_all(format!("{head}\r\n").as_bytes());
            let _ = stream.write_all(&body);
        }
        Said::Forward(port) => {
            let mut there = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let mut head =
                format!("{} {} HTTP/1.1\r\nConnection: close\r\n", asked.method, asked.path);
            for (name, value) in &asked.headers {
                if !["authorization", "connection"].contains(&name.to_lowercase().as_str()) {
                    head += &format!("{name}: {value}\r\n");
                }
            }
            there.write_all(format!("{head}\r\n").as_bytes()).unwrap();
            let _ = std::io::copy(&mut there, &mut stream);
        }
    }
    let _ = stream.flush();
}

fn read_request(stream: &mut impl Read) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let mut asked = Asked { method, path, headers, body: String::new() };
    let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
    reader.take(length).read_to_string(&mut asked.body).ok()?;
    Some(asked)
}

/// A way to a server that breaks off: of each connection it lets only so many bytes of answers through.
pub struct Cutter {
    pub port: u16,
    /// Bytes that each connection got.
    pub passed: Arc<Mutex<Vec<u64>>>,
    ends: Arc<AtomicBool>,
}

impl Cutter {
    /// `limits` has a number for each connection; those after it are whole.
    pub fn start(to: u16, limits: Vec<u64>) -> Self {
        let passed: Arc<Mutex<Vec<u64>>> = Arc::default();
        let (counts, limits) = (passed.clone(), Mutex::new(limits.into_iter()));
        let (port, ends) = accept(move |client| {
            let limit = limits.lock().unwrap().next().unwrap_or(u64::MAX);
            let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let (mut from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let asks = thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut into);
                let _ = into.shutdown(Shutdown::Write);
            });
            let count = std::io::copy(&mut (&server).take(limit), &mut &client).unwrap_or(limit);
            counts.lock().unwrap().push(count);
            let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
            let _ = asks.join();
        });
        Cutter { port, passed, ends }
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// A proxy that leads every `CONNECT` to one server, whatever name it is asked for, and remembers them.
pub fn proxy(to: u16) -> (u16, Arc<Mutex<Vec<String>>>) {
    let names: Arc<Mutex<Vec<String>>> = Arc::default();
    let remembered = names.clone();
    let (port, _) = accept(move |mut client| {
        let Some(asked) = read_head(&mut client) else { return };
        remembered.lock().unwrap().push(asked);
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        join(client, to);
    });
    (port, names)
}

/// A proxy that speaks SOCKS 5 and leads to one server, and remembers the names it is asked for.
pub fn socks(to: u16) -> (u16, Arc<Mutex<Vec<String>>>) {
    let names: Arc<Mutex<Vec<String>>> = Arc::default();
    let remembered = names.clone();
    let (port, _) = accept(move |mut client| {
        let mut read = |count: usize| {
            let mut bytes = vec![0; count];
            client.read_exact(&mut bytes).map(|()| bytes)
        };
        let Ok(hello) = read(2) else { return };
        read(hello[1].into()).unwrap();
        client.write_all(&[5, 0]).unwrap();
        let mut read = |count: usize| {
            let mut bytes = vec![0; count];
            client.read_exact(&mut bytes).map(|()| bytes)
        };
        let asked = read(5).unwrap();
        assert_eq!(asked[3], 3, "it is asked by name");
        let name = String::from_utf8(read(asked[4].into()).unwrap()).unwrap();
        let port = read(2).unwrap();
        let port = u16::from_be_bytes([port[0], port[1]]);
        remembered.lock().unwrap().push(format!("{name}:{port}"));
        client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).unwrap();
        join(client, to);
    });
    (port, names)
}

/// Leads a connection on to the server at a port.
pub fn join(mut client: TcpStream, to: u16) {
    let mut server = TcpStream::connect(("127.0.0.1", to)).unwrap();
    let (mut from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let asks = thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut into);
        let _ = into.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    let _ = asks.join();
}

/// The first line of a request, read to the end of its head and not a byte further.
fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap().lines().next().unwrap().to_owned())
}
