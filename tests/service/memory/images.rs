//! The images that take most memory for their pixels, each at `--max_pixels` or a little below: what one
//! of them takes, and what is left of it, against the table in docs/OPERATIONS.md.

use std::io::Write;

use base64_simd::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::*;

/// What the service takes in this test: as much as by default in a release build, where it is fast
/// enough.
const MAX_PIXELS: usize = if cfg!(debug_assertions) {
    4_000_000
} else {
    40_000_000
};

/// The idle service, and what a thread keeps: at most 16 MiB each of the item, the pixels, and what is
/// on its way to them.
const LEFT: usize = (30 + 3 * 16) * MIB;

/// What a service takes for its first image, whatever it is: tables, threads, connections.
const FIRST: usize = 16 * MIB;

/// An image of about `MAX_PIXELS` pixels.
struct Case {
    name: &'static str,
    file: Vec<u8>,
    /// The status of the answer.
    status: u16,
    /// b of docs/OPERATIONS.md: bytes of memory for each pixel.
    per_pixel: f64,
}

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u16 + 2).to_be_bytes();
    [&[0xFF, marker], length.as_slice(), body].concat()
}

/// A JPEG of one colour: every code of a block is a single zero bit.
struct Jpeg {
    width: usize,
    height: usize,
    /// Sampling factors of the components.
    factors: &'static [u8],
    progressive: bool,
    restarts: bool,
}

impl Jpeg {
    fn file(&self) -> Vec<u8> {
        let mut file = vec![0xFF, 0xD8];
        let table = [&[0][..], &[1; 64]].concat();
        file.extend(segment(0xDB, &table));
        // One code of one bit: no difference, the end of the block.
        for class in [0, 0x10] {
            file.extend(segment(0xC4, &[&[class, 1][..], &[0; 15], &[0]].concat()));
        }
        let mut frame = vec![8];
        frame.extend((self.height as u16).to_be_bytes());
        frame.extend((self.width as u16).to_be_bytes());
        frame.push(self.factors.len() as u8);
        for (id, factors) in self.factors.iter().enumerate() {
            frame.extend([id as u8, *factors, 0]);
        }
        file.extend(segment(if self.progressive { 0xC2 } else { 0xC0 }, &frame));
        if self.restarts {
            file.extend(segment(0xDD, &[0, 1]));
        }
        let all: Vec<usize> = (0..self.factors.len()).collect();
        if self.progressive {
            self.scan(&mut file, &all, [0, 0], 1);
            for index in all {
                self.scan(&mut file, &[index], [1, 63], 1);
            }
        } else {
            self.scan(&mut file, &all, [0, 63], 2);
        }
        file.extend([0xFF, 0xD9]);
        file
    }

    fn scan(&self, file: &mut Vec<u8>, components: &[usize], band: [u8; 2], bits: usize) {
        let mut header = vec![components.len() as u8];
        for index in components {
            header.extend([*index as u8, 0]);
        }
        header.extend(band);
        header.push(0);
        file.extend(segment(0xDA, &header));
        let split = |factors: &u8| [usize::from(factors >> 4), usize::from(factors & 15)];
        let h_max = self.factors.iter().map(|f| split(f)[0]).max().unwrap();
        let v_max = self.factors.iter().map(|f| split(f)[1]).max().unwrap();
        let across = self.width.div_ceil(8 * h_max);
        let down = self.height.div_ceil(8 * v_max);
        let blocks: usize = components
            .iter()
            .map(|index| split(&self.factors[*index]).iter().product::<usize>())
            .sum();
        if self.restarts {
            let bytes = (blocks * bits).div_ceil(8);
            for mcu in 0..across * down {
                if mcu > 0 {
                    file.extend([0xFF, 0xD0 + ((mcu - 1) % 8) as u8]);
                }
                // What is left of the last byte are ones.
                file.extend(std::iter::repeat_n(0, bytes));
            }
        } else {
            // A component alone has fewer blocks; spare bytes are passed over.
            let bits = across * down * blocks * bits;
            file.extend(std::iter::repeat_n(0, bits.div_ceil(8)));
        }
    }
}

fn jpeg(width: usize, height: usize, factors: &'static [u8]) -> Jpeg {
    Jpeg {
        width,
        height,
        factors,
        progressive: false,
        restarts: false,
    }
}

fn progressive(width: usize, height: usize, factors: &'static [u8]) -> Vec<u8> {
    let jpeg = Jpeg {
        progressive: true,
        ..jpeg(width, height, factors)
    };
    jpeg.file()
}

/// A PNG of zeros. `colour`: 0 grey, 2 RGB, 3 palette, 6 RGBA.
fn png(width: usize, height: usize, depth: u8, colour: u8, interlaced: bool) -> Vec<u8> {
    let channels = match colour {
        0 | 3 => 1,
        2 => 3,
        _ => 4,
    };
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &[u8; 4], body: &[u8]| {
        file.extend((body.len() as u32).to_be_bytes());
        let mut crc = flate2::Crc::new();
        for bytes in [name, body] {
            crc.update(bytes);
            file.extend(bytes);
        }
        file.extend(crc.sum().to_be_bytes());
    };
    let mut header = (width as u32).to_be_bytes().to_vec();
    header.extend((height as u32).to_be_bytes());
    header.extend([depth, colour, 0, 0, u8::from(interlaced)]);
    chunk(b"IHDR", &header);
    if colour == 3 {
        chunk(b"PLTE", &[0; 6]);
    }
    let line = |width: usize| 1 + (width * channels * usize::from(depth)).div_ceil(8);
    let bytes: usize = if interlaced {
        // Adam7's passes: first column and row, and the steps.
        let passes = [
            [0, 0, 8, 8],
            [4, 0, 8, 8],
            [0, 4, 4, 8],
            [2, 0, 4, 4],
            [0, 2, 2, 4],
            [1, 0, 2, 2],
            [0, 1, 1, 2],
        ];
        let of_pass = |[x, y, across, down]: [usize; 4]| {
            let width = width.saturating_sub(x).div_ceil(across);
            let height = height.saturating_sub(y).div_ceil(down);
            if width == 0 { 0 } else { line(width) * height }
        };
        passes.map(of_pass).iter().sum()
    } else {
        line(width) * height
    };
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(6));
    let zeros = vec![0; 1 << 16];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(zeros.len());
        encoder.write_all(&zeros[..now]).unwrap();
        left -= now;
    }
    chunk(b"IDAT", &encoder.finish().unwrap());
    chunk(b"IEND", &[]);
    file
}

/// A lossless WebP of one colour: each of its five codes has one symbol, which takes no bits.
fn webp_lossless(width: usize, height: usize, alpha: bool) -> Vec<u8> {
    let mut bits = (width - 1) as u128 | ((height - 1) as u128) << 14 | u128::from(alpha) << 28;
    let mut at = 32;
    // No transform, no colour cache, no groups of codes; of each code: simple, one symbol of one bit, 0.
    at += 3;
    for _ in 0..5 {
        bits |= 1 << at;
        at += 4;
    }
    let mut body = vec![0x2F];
    body.extend_from_slice(&bits.to_le_bytes()[..8]);
    riff(b"VP8L", &body)
}

fn riff(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(2);
    let mut file = b"RIFF".to_vec();
    file.extend((12 + padded as u32).to_le_bytes());
    file.extend(b"WEBP");
    file.extend(name);
    file.extend((body.len() as u32).to_le_bytes());
    file.extend(body);
    file.resize(20 + padded, 0);
    file
}

fn bmp(width: usize, height: usize) -> Vec<u8> {
    let mut file = b"BM".to_vec();
    file.extend([0; 8]);
    file.extend(54_u32.to_le_bytes());
    file.extend(40_u32.to_le_bytes());
    file.extend((width as i32).to_le_bytes());
    file.extend((height as i32).to_le_bytes());
    file.extend([1, 0, 8, 0, 1, 0, 0, 0]);
    file.extend([0; 20]);
    file.resize(54 + 1024, 0);
    // Runs: all pixels are skipped.
    file.extend([0, 1]);
    file
}

fn cut(mut file: Vec<u8>) -> Vec<u8> {
    file.truncate(file.len() / 2);
    file
}

/// One of each form, at `--max_pixels`, in the service's widest and highest shapes.
fn cases() -> Vec<Case> {
    // Nearly square; as wide as a JPEG may be, so that every row of blocks is looked at.
    let side = MAX_PIXELS.isqrt() / 16 * 16;
    let (wide, low) = (65_472, MAX_PIXELS / 65_472);
    let square = [side, side];
    // Longer lines of a PNG are refused.
    let line = MAX_PIXELS.min(8_000_000);
    let case = |name, file, status, per_pixel| Case {
        name,
        file,
        status,
        per_pixel,
    };
    let restarts = Jpeg {
        restarts: true,
        ..jpeg(side, side, &[0x11])
    };
    let half_progressive = cut(progressive(side, side, &[0x11; 4]));
    vec![
        case(
            "sequential JPEG",
            jpeg(side, side, &[0x22, 0x11, 0x11]).file(),
            200,
            0.2,
        ),
        case(
            "sequential JPEG, wide",
            jpeg(wide, low, &[0x22, 0x11, 0x11]).file(),
            200,
            1.5,
        ),
        case("JPEG of restart markers", restarts.file(), 200, 0.2),
        case(
            "damaged JPEG",
            cut(jpeg(side, side, &[0x11; 3]).file()),
            400,
            0.2,
        ),
        case(
            "progressive JPEG",
            progressive(side, side, &[0x22, 0x11, 0x11]),
            200,
            1.1,
        ),
        case(
            "progressive JPEG, wide",
            progressive(wide, low, &[0x22, 0x11, 0x11]),
            200,
            4.5,
        ),
        case(
            "progressive CMYK JPEG, wide",
            progressive(wide, low, &[0x11; 4]),
            200,
            10.0,
        ),
        case("damaged progressive JPEG", half_progressive, 400, 4.5),
        case(
            "PNG 1 pixel wide",
            png(1, MAX_PIXELS, 8, 2, false),
            200,
            4.0,
        ),
        case("PNG 1 pixel high", png(line, 1, 8, 2, false), 200, 13.0),
        case("PNG", png(side, side, 8, 2, false), 200, 1.0),
        case("grey PNG", png(side, side, 8, 0, false), 200, 1.0),
        case("interlaced PNG", png(side, side, 8, 2, true), 200, 4.0),
        case(
            "PNG of 16 bits with alpha",
            png(side, side, 16, 6, false),
            200,
            5.0,
        ),
        case(
            "PNG of 16 bits with alpha, 1 pixel high",
            png(line, 1, 16, 6, false),
            200,
            29.0,
        ),
        case("damaged PNG", cut(png(side, side, 8, 6, false)), 400, 5.0),
        case("lossless WebP", webp_lossless(side, side, false), 200, 8.0),
        case(
            "lossless WebP with alpha",
            webp_lossless(side, side, true),
            200,
            5.0,
        ),
        case("BMP of runs", bmp(square[0], square[1]), 200, 4.0),
    ]
}

/// What went wrong with a case.
async fn post(service: &Service, case: &Case) -> Vec<String> {
    let mut wrong = Vec::new();
    let item = STANDARD.encode_to_string(&case.file);
    let body = Bytes::from(format!(r#"{{"instances":[{{"b64":"{item}"}}]}}"#));
    // The body, the item's bytes, and the copy of the file that a decoder makes.
    let of_bytes = body.len() + 2 * case.file.len();
    let rise = service
        .rise(async {
            let request = service.post("/v1/models/facequality:predict", body.clone());
            let request = request.body(Full::new(body)).unwrap();
            let response = service.http2().await.send_request(request).await.unwrap();
            let status = response.status().as_u16();
            let text = response.into_body().collect().await.unwrap().to_bytes();
            if status != case.status {
                wrong.push(format!("{status} {text:?}"));
            }
        })
        .await;
    let allowed = of_bytes + (MAX_PIXELS as f64 * case.per_pixel) as usize + FIRST;
    println!(
        "{}: {} bytes, {} MiB of {}",
        case.name,
        case.file.len(),
        rise / MIB,
        allowed / MIB
    );
    if rise > allowed {
        wrong.push(format!("{rise} bytes, {allowed} are allowed"));
    }
    wrong
        .into_iter()
        .map(|what| format!("{}: {what}", case.name))
        .collect()
}

#[tokio::test]
async fn large_images_take_what_operations_says_and_leave_nothing() {
    let pixels = format!("--max_pixels={MAX_PIXELS}");
    let flags = [pixels.as_str(), "--max_item_bytes=33554432"];
    let all = Service::start(&flags);
    let mut wrong = Vec::new();
    for case in cases() {
        // A process of its own, since what another image left would be used again.
        wrong.extend(post(&Service::start(&flags), &case).await);
        if case.per_pixel > 3.0 {
            wrong.extend(post(&all, &case).await);
        }
    }
    // The allocator gives back what was not used for ten seconds.
    let mut left = usize::MAX;
    for _ in 0..120 {
        left = all.memory("VmRSS");
        if left < LEFT {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!("{} MiB when all is done", left / MIB);
    assert!(left < LEFT, "{left} bytes are left");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
