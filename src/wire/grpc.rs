//! gRPC's own part of a call, as data: the frame around a message, the names of status codes, the
//! text of `grpc-timeout`, a status in headers or trailers.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use prost::Message;
use tonic::{Code, Status};

use crate::wire::triton::ModelInferRequest;

/// Bytes in front of each message.
pub const FRAME_BYTES: usize = 5;

/// The header with the time that the caller grants.
pub const TIMEOUT: &str = "grpc-timeout";

/// What the bytes in front of a message say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// 0: as it is; 1: compressed by `grpc-encoding`. There are no others.
    pub flag: u8,
    /// Bytes of the message.
    pub length: usize,
}

impl FrameHeader {
    /// The header of a message that is not compressed.
    pub fn plain(length: usize) -> Self {
        debug_assert!(u32::try_from(length).is_ok(), "a frame holds 4 GiB at most");
        Self { flag: 0, length }
    }

    /// Reads the header.
    pub fn decode(bytes: [u8; FRAME_BYTES]) -> Self {
        let [flag, length @ ..] = bytes;
        Self {
            flag,
            length: u32::from_be_bytes(length) as usize,
        }
    }

    /// Writes the header.
    pub fn encode(self) -> [u8; FRAME_BYTES] {
        let [a, b, c, d] = (self.length as u32).to_be_bytes();
        [self.flag, a, b, c, d]
    }
}

/// Why bytes are not the message that was expected.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The sender compressed it without being asked to.
    #[error("the gRPC message is compressed, which was not requested")]
    Compressed,
    /// A unary response of no message, of a part of one, or of more than one.
    #[error("expected one gRPC message, found {0} bytes that are not one")]
    NotOne(usize),
    /// The frame holds something else.
    #[error("the gRPC message is not a valid {name}: {error}")]
    Protobuf {
        /// The message's type.
        name: &'static str,
        /// What prost says.
        error: prost::DecodeError,
    },
}

/// A message in its frame.
pub fn encode(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(FRAME_BYTES + length);
    frame.put_slice(&FrameHeader::plain(length).encode());
    // The buffer grows: this cannot fail.
    let _ = message.encode(&mut frame);
    frame.freeze()
}

/// Reads the one message of a unary response. What `bytes` fields hold shares the body's memory.
///
/// # Errors
///
/// When it is not one message of this type, as it is.
pub fn decode<M: Message + Default>(mut body: Bytes) -> Result<M, FrameError> {
    let found = body.len();
    match split_message(&mut body)? {
        Some(message) if body.is_empty() => decode_message(message),
        _ => Err(FrameError::NotOne(found)),
    }
}

/// Reads a message that is out of its frame.
///
/// # Errors
///
/// When it is not a message of this type.
pub fn decode_message<M: Message + Default>(message: Bytes) -> Result<M, FrameError> {
    M::decode(message).map_err(|error| {
        let name = std::any::type_name::<M>();
        let name = name.rsplit("::").next().unwrap_or(name);
        FrameError::Protobuf { name, error }
    })
}

/// Cuts the first message out of its frame and off what was received, once it is there as a whole.
///
/// # Errors
///
/// When it is compressed.
pub fn split_message<B: Buf + AsRef<[u8]>>(received: &mut B) -> Result<Option<Bytes>, FrameError> {
    let Some((header, rest)) = received.as_ref().split_first_chunk() else {
        return Ok(None);
    };
    let FrameHeader { flag, length } = FrameHeader::decode(*header);
    if flag != 0 {
        return Err(FrameError::Compressed);
    }
    if rest.len() < length {
        return Ok(None);
    }
    received.advance(FRAME_BYTES);
    Ok(Some(received.copy_to_bytes(length)))
}

/// Field 7, `raw_input_contents`, length-delimited.
const RAW_CONTENTS_TAG: u8 = 7 << 3 | 2;

/// What comes before the tensors of a framed ModelInferRequest, whose sizes are `tensor_bytes`. First
/// the head, in front of the first one: the frame's header, the message without its raw contents,
/// their tag and their length. Then what stands in front of each of the others. Protobuf's writers
/// put fields in the order of their numbers, and `raw_input_contents` has the highest; so a tensor
/// need not be copied into its message.
pub fn encode_head(request: &ModelInferRequest, tensor_bytes: &[usize]) -> (Vec<u8>, Vec<Bytes>) {
    debug_assert!(
        request.raw_input_contents.is_empty(),
        "the tensors come behind the head"
    );
    let fields = tensor_bytes.iter().map(|&bytes| {
        let delimited = 1 + prost::length_delimiter_len(bytes);
        delimited + bytes
    });
    let length = request.encoded_len() + fields.sum::<usize>();
    let first_bytes = tensor_bytes.iter().sum::<usize>();
    let mut head = Vec::with_capacity(FRAME_BYTES + length - first_bytes);
    head.extend_from_slice(&FrameHeader::plain(length).encode());
    // A Vec grows: this cannot fail.
    let _ = request.encode(&mut head);
    let mut sizes = tensor_bytes.iter();
    if let Some(&first) = sizes.next() {
        put_field_head(&mut head, first);
    }
    let others = sizes.map(|&bytes| {
        let mut field = Vec::with_capacity(8);
        put_field_head(&mut field, bytes);
        Bytes::from(field)
    });
    (head, others.collect())
}

/// Tag and length of a tensor's raw contents.
fn put_field_head(message: &mut Vec<u8>, bytes: usize) {
    message.push(RAW_CONTENTS_TAG);
    // A Vec grows: this cannot fail.
    let _ = prost::encode_length_delimiter(bytes, message);
}

/// Sets what every gRPC request carries.
pub fn set_request_headers(headers: &mut HeaderMap) {
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
}

/// The status in headers or trailers, if there is one and it is an error.
pub fn error_status(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers).filter(|status| status.code() != Code::Ok)
}

/// The text of `grpc-timeout`: at most eight digits and a unit; fractions are left off.
pub fn format_timeout(time: Duration) -> String {
    const MAX: u128 = 99_999_999;
    match (time.as_micros(), time.as_millis()) {
        (micros, _) if micros <= MAX => format!("{micros}u"),
        (_, millis) if millis <= MAX => format!("{millis}m"),
        _ => format!("{}S", u128::from(time.as_secs()).min(MAX)),
    }
}

/// Reads `grpc-timeout`. What is malformed is no deadline, as gRPC's own servers see it.
pub fn parse_timeout(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let unit = text.chars().next_back()?;
    let digits = text.strip_suffix(unit)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(amount * 3600),
        'M' => Duration::from_secs(amount * 60),
        'S' => Duration::from_secs(amount),
        'm' => Duration::from_millis(amount),
        'u' => Duration::from_micros(amount),
        'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// A code as the gRPC documents spell it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::triton::model_infer_request::InferInputTensor;
    use crate::wire::triton::{ModelReadyRequest, ServerLiveRequest};

    fn request() -> ModelInferRequest {
        ModelInferRequest {
            model_name: "m".to_owned(),
            id: "r-1".to_owned(),
            inputs: vec![InferInputTensor {
                name: "x".to_owned(),
                datatype: "FP32".to_owned(),
                shape: vec![2, 3],
                ..InferInputTensor::default()
            }],
            ..ModelInferRequest::default()
        }
    }

    #[test]
    fn head_and_tensors_are_the_whole_message() {
        for bytes in [0, 1, 127, 128, 150_528, 4_816_896] {
            let (first, second) = (Bytes::from(vec![7; bytes]), Bytes::from(vec![8; bytes / 3]));
            let (head, none) = encode_head(&request(), &[bytes]);
            let mut whole = ModelInferRequest {
                raw_input_contents: vec![first.clone()],
                ..request()
            };
            assert_eq!([&head[..], &first].concat(), encode(&whole));
            assert!(none.is_empty());
            let (head, between) = encode_head(&request(), &[bytes, second.len()]);
            whole.raw_input_contents.push(second.clone());
            let pieces = [&head[..], &first, &between[0], &second].concat();
            assert_eq!(pieces, encode(&whole));
        }
    }

    #[test]
    fn a_message_comes_out_of_its_frame() {
        let ready = ModelReadyRequest {
            name: "m".to_owned(),
            version: "1".to_owned(),
        };
        let frame = encode(&ready);
        assert_eq!(decode::<ModelReadyRequest>(frame.clone()).unwrap(), ready);

        let mut received = BytesMut::from(&frame[..frame.len() - 1]);
        assert!(split_message(&mut received).unwrap().is_none());
        received.extend_from_slice(&frame[frame.len() - 1..]);
        received.extend_from_slice(&frame);
        assert_eq!(
            split_message(&mut received).unwrap().unwrap(),
            frame[FRAME_BYTES..]
        );
        assert_eq!(received, frame, "the next one stays");
    }

    #[test]
    fn what_is_not_one_message_is_named() {
        let error = |bytes: &'static [u8]| {
            let decoded = decode::<ServerLiveRequest>(Bytes::from_static(bytes));
            decoded.unwrap_err().to_string()
        };
        let one = "expected one gRPC message, found";
        assert_eq!(error(b""), format!("{one} 0 bytes that are not one"));
        assert_eq!(
            error(&[0, 0, 0, 0, 9]),
            format!("{one} 5 bytes that are not one")
        );
        assert_eq!(
            error(&[0, 0, 0, 0, 0, 1]),
            format!("{one} 6 bytes that are not one")
        );
        assert!(error(&[1, 0, 0, 0, 0]).contains("compressed"));
        assert!(error(&[0, 0, 0, 0, 1, 255]).contains("not a valid ServerLiveRequest"));
    }

    #[test]
    fn timeouts_have_eight_digits_at_most() {
        let seconds = Duration::from_secs;
        for (time, text) in [
            (Duration::from_millis(50), "50000u"),
            (Duration::from_micros(99_999_999), "99999999u"),
            (seconds(100), "100000m"),
            (seconds(100_000), "100000S"),
        ] {
            assert_eq!(format_timeout(time), text);
            assert_eq!(parse_timeout(&HeaderValue::from_static(text)), Some(time));
        }
    }

    #[test]
    fn malformed_timeouts_are_none() {
        let timeout = |text: &'static str| parse_timeout(&HeaderValue::from_static(text));
        assert_eq!(
            timeout("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        assert_eq!(timeout("7n"), Some(Duration::from_nanos(7)));
        for wrong in ["", "m", "5", "5x", "-5m", "123456789S", "5 m"] {
            assert_eq!(timeout(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_errors_are_a_status_of_interest() {
        let headers = |code: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", HeaderValue::from_static(code));
            headers.insert("grpc-message", HeaderValue::from_static("it%20failed"));
            headers
        };
        assert!(error_status(&HeaderMap::new()).is_none());
        assert!(error_status(&headers("0")).is_none());
        let status = error_status(&headers("13")).unwrap();
        assert_eq!(
            (code_name(status.code()), status.message()),
            ("INTERNAL", "it failed")
        );
    }
}
