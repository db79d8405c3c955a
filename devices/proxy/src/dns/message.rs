//! DNS messages (RFC 1035 §4.1), as far as a name server in the middle has to read them.
//!
//! Everything is hostile: names are followed with a bound on their parts, and what does not add up is no message.

use std::net::{IpAddr, Ipv4Addr};

const HEADER_BYTES: usize = 12;
/// Of the header's flags: a response, truncated, recursion desired, recursion available.
const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const TRUNCATED: u16 = 0x0200;
const DESIRED: u16 = 0x0100;
const AVAILABLE: u16 = 0x0080;

const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;
const TYPE_ANY: u16 = 255;
const CLASS_IN: u16 = 1;

/// A pointer to the name in the question (RFC 1035 §4.1.4).
const QUESTION_NAME: [u8; 2] = [0xc0, 12];
/// Length of a record with an IPv4 address and such a name.
const ADDRESS_RECORD_BYTES: usize = 16;
/// How long an address of a group's member may be remembered. A member's address stays, but which of several with one name
/// are there changes.
const GROUP_TTL_S: u32 = 5;
const MAX_NAME_BYTES: usize = 255;
/// Labels and pointers of one name.
const MAX_NAME_PARTS: usize = 128;
/// Records of one message.
const MAX_RECORDS: usize = 1024;
/// Names in the answer section beside the one asked for. Resolvers follow fewer aliases (RFC 1034 §5.2.2 asks for a limit).
const MAX_ALIASES: usize = 32;
/// Where the number of additional records stands in the header.
const ADDITIONAL_AT: usize = 10;

/// What a message of ours says (RFC 1035 §4.1.1, RCODE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// All is well; there is no answer.
    NoError = 0,
    /// The question makes no sense.
    Format = 1,
    /// Nobody could answer.
    ServerFailure = 2,
    /// No such question is answered.
    NotImplemented = 4,
    /// The policy is against it.
    Refused = 5,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// In lower case, labels joined by dots, none at the end; empty for the root.
    pub name: String,
    /// The type of record asked for.
    pub kind: u16,
    /// The longest answer the asker takes by datagram, bytes (RFC 6891 §6.2.3).
    pub datagram_bytes: usize,
    /// Where the question ends in its message.
    end: usize,
}

impl Question {
    /// The one question of `query`.
    ///
    /// # Errors
    /// What to answer instead; nothing where it is no query at all.
    pub fn parse(query: &[u8]) -> Result<Self, Option<Code>> {
        let flags = word(query, 2).ok_or(None)?;
        if query.len() < HEADER_BYTES || flags & RESPONSE != 0 {
            return Err(None);
        }
        if flags & OPCODE != 0 {
            return Err(Some(Code::NotImplemented));
        }
        if word(query, 4) != Some(1) || word(query, 6) != Some(0) || word(query, 8) != Some(0) {
            return Err(Some(Code::Format));
        }
        let (name, at) = name(query, HEADER_BYTES).ok_or(Some(Code::Format))?;
        let (Some(kind), Some(class)) = (word(query, at), word(query, at + 2)) else {
            return Err(Some(Code::Format));
        };
        if class != CLASS_IN {
            return Err(Some(Code::NotImplemented));
        }
        let mut question = Self { name, kind, datagram_bytes: 0, end: at + 4 };
        let mut record_at = question.end;
        for _ in 0..word(query, ADDITIONAL_AT).unwrap_or(0) {
            let Some(record) = Record::parse(query, record_at) else { return Err(Some(Code::Format)) };
            if record.kind == TYPE_OPT {
                question.datagram_bytes = record.class.into();
            }
            record_at = record.end;
        }
        Ok(question)
    }
}

/// A query for the IPv6 addresses of `name`, whose number is still 0.
pub(crate) fn query_v6(name: &str) -> Vec<u8> {
    let mut query = vec![0; HEADER_BYTES];
    query[2..4].copy_from_slice(&DESIRED.to_be_bytes());
    query[5] = 1;
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap_or(0));
        query.extend(label.as_bytes());
    }
    query.push(0);
    query.extend(TYPE_AAAA.to_be_bytes());
    query.extend(CLASS_IN.to_be_bytes());
    query
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    id: u16,
    question: Question,
    /// The addresses that the name asked for has, by whatever aliases, and how long they may be remembered, seconds.
    pub addresses: Vec<(IpAddr, u32)>,
    /// Every other name in the answer section, in whatever order: the chain of aliases.
    pub aliases: Vec<String>,
    /// Every address in the message, wherever it stands.
    pub all_addresses: Vec<IpAddr>,
}

impl Answer {
    /// What `message` says, if it is an answer to one question.
    pub fn parse(message: &[u8]) -> Option<Self> {
        if word(message, 2)? & RESPONSE == 0 || word(message, 4)? != 1 {
            return None;
        }
        let (question_name, at) = name(message, HEADER_BYTES)?;
        let kind = word(message, at)?;
        word(message, at + 2).filter(|class| *class == CLASS_IN)?;
        let question = Question { name: question_name, kind, datagram_bytes: 0, end: at + 4 };
        let answers = usize::from(word(message, 6)?);
        let count = answers + usize::from(word(message, 8)?) + usize::from(word(message, 10)?);
        let mut read = Self {
            id: word(message, 0)?,
            question,
            addresses: Vec::new(),
            aliases: Vec::new(),
            all_addresses: Vec::new(),
        };
        let (mut aliases, mut at) = (vec![read.question.name.clone()], read.question.end);
        for number in 0..count {
            if number >= MAX_RECORDS {
                return None;
            }
            // A truncated message may end anywhere.
            let Some(record) = Record::parse(message, at) else {
                return (word(message, 2)? & TRUNCATED != 0).then_some(read);
            };
            at = record.end;
            let is_answer = number < answers;
            let is_ours = is_answer && aliases.contains(&record.owner);
            if is_answer {
                read.mention(&record.owner)?;
            }
            match (record.kind, record.address(message)) {
                (TYPE_CNAME, _) if is_answer => {
                    let target = name(message, record.data)?.0;
                    read.mention(&target)?;
                    if is_ours {
                        aliases.push(target);
                    }
                }
                (TYPE_A | TYPE_AAAA, None) => return None,
                (_, Some(address)) => {
                    read.all_addresses.push(address);
                    if is_ours {
                        read.addresses.push((address, record.ttl));
                    }
                }
                _ => {}
            }
        }
        Some(read)
    }

    /// Notes a name of the answer section; nothing where there are too many.
    fn mention(&mut self, name: &str) -> Option<()> {
        if self.question.name != name && !self.aliases.iter().any(|known| known == name) {
            if self.aliases.len() >= MAX_ALIASES {
                return None;
            }
            self.aliases.push(name.to_owned());
        }
        Some(())
    }

    /// Whether this is the answer to `question`, asked under `id`.
    pub fn is_to(&self, question: &Question, id: u16) -> bool {
        self.id == id && self.question.name == question.name && self.question.kind == question.kind
    }
}

/// The answer to `query` that says `code` and nothing else.
pub fn failure(query: &[u8], code: Code) -> Vec<u8> {
    header_and_question(query, code as u16)
}

/// The answer to `query`, which asks `question`, that the name has these IPv4 `addresses`: empty where other records were asked
/// for. The asker gets as many as fit a datagram of `most_bytes`.
pub fn addresses(query: &[u8], question: &Question, addresses: &[Ipv4Addr], most_bytes: usize) -> Vec<u8> {
    let mut answer = header_and_question(query, Code::NoError as u16);
    if question.kind != TYPE_A && question.kind != TYPE_ANY {
        return answer;
    }
    let room = most_bytes.saturating_sub(answer.len()) / ADDRESS_RECORD_BYTES;
    let count = addresses.len().min(room);
    for address in &addresses[..count] {
        answer.extend(QUESTION_NAME);
        answer.extend(TYPE_A.to_be_bytes());
        answer.extend(CLASS_IN.to_be_bytes());
        answer.extend(GROUP_TTL_S.to_be_bytes());
        answer.extend(4_u16.to_be_bytes());
        answer.extend(address.octets());
    }
    answer[6..8].copy_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
    answer
}

/// The answer to `query` that says that it is too long for a datagram.
pub fn truncated(query: &[u8]) -> Vec<u8> {
    header_and_question(query, TRUNCATED)
}

fn header_and_question(query: &[u8], flags: u16) -> Vec<u8> {
    let end = Question::parse(query).map_or(HEADER_BYTES, |question| question.end);
    let asked = word(query, 2).unwrap_or(0);
    let mut answer = vec![0; HEADER_BYTES];
    answer[..2].copy_from_slice(query.get(..2).unwrap_or(&[0, 0]));
    let flags = RESPONSE | AVAILABLE | asked & (OPCODE | DESIRED) | flags;
    answer[2..4].copy_from_slice(&flags.to_be_bytes());
    if let Some(question) = query.get(HEADER_BYTES..end).filter(|question| !question.is_empty()) {
        answer[5] = 1;
        answer.extend(question);
    }
    answer
}

/// A record, its data still in the message.
struct Record {
    owner: String,
    kind: u16,
    class: u16,
    ttl: u32,
    data: usize,
    end: usize,
}

impl Record {
    fn parse(message: &[u8], at: usize) -> Option<Self> {
        let (owner, at) = name(message, at)?;
        let high = word(message, at + 4)?;
        let low = word(message, at + 6)?;
        let data = at + 10;
        let end = data + usize::from(word(message, at + 8)?);
        message.get(data..end)?;
        let ttl = u32::from(high) << 16 | u32::from(low);
        Some(Self { owner, kind: word(message, at)?, class: word(message, at + 2)?, ttl, data, end })
    }

    fn address(&self, message: &[u8]) -> Option<IpAddr> {
        let data = message.get(self.data..self.end)?;
        match (self.kind, self.class) {
            (TYPE_A, CLASS_IN) => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
            (TYPE_AAAA, CLASS_IN) => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
            _ => None,
        }
    }
}

/// The name at `at`, and where what follows it begins. Labels with a dot or with what cannot be printed are none of ours.
fn name(message: &[u8], at: usize) -> Option<(String, usize)> {
    let (mut name, mut at, mut end) = (String::new(), at, None);
    for _ in 0..MAX_NAME_PARTS {
        let length = usize::from(*message.get(at)?);
        match length >> 6 {
            0 if length == 0 => return Some((name, end.unwrap_or(at + 1))),
            0 => {
                let label = message.get(at + 1..at + 1 + length)?;
                if name.len() + length + 1 > MAX_NAME_BYTES
                    || !label.iter().all(|b| b.is_ascii_graphic() && *b != b'.')
                {
                    return None;
                }
                if !name.is_empty() {
                    name.push('.');
                }
                name.extend(label.iter().map(|b| char::from(b.to_ascii_lowercase())));
                at += 1 + length;
            }
            3 => {
                let target = usize::from(word(message, at)? & 0x3fff);
                end.get_or_insert(at + 2);
                // Only backwards, so that it ends.
                if target >= at {
                    return None;
                }
                at = target;
            }
            _ => return None,
        }
    }
    None
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
pub(crate) mod tests;
