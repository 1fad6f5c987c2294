//! Our side of `benches/opencv.py`, which starts this program: decodes, resizes and normalises one file
//! over and over, and prints the µs of CPU that an image takes.
//!
//!     decode FILE MILLISECONDS [libjpeg-turbo]
//!
//! With the third word libjpeg-turbo decodes (cargo feature `oracle`), and the resize is ours.

// A program to measure with has nobody to report to.
#![allow(clippy::expect_used)]

use std::time::Instant;

use bytes::BytesMut;
use kserve_transformer::faces::SIDE;
use kserve_transformer::pixel::{self, Formats, Options, Scratch};

const OPTIONS: Options = Options {
    formats: Formats::ALL,
    ..Options::DEFAULT
};

/// CPU time of this thread, in µs.
fn cpu() -> f64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = schedstat.split(' ').next().and_then(|ns| ns.parse().ok());
    nanoseconds.map_or(f64::NAN, |ns: f64| ns / 1e3)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, milliseconds, decoder @ ..] = args.as_slice() else {
        return println!("started by benches/opencv.py");
    };
    let file = std::fs::read(file).expect("the file");
    let period = milliseconds.parse::<f64>().expect("milliseconds") * 1e3;
    let mut scratch = Scratch::default();
    let mut planes: [BytesMut; 3] = Default::default();
    let mut once = || match decoder {
        [] => {
            planes.iter_mut().for_each(BytesMut::clear);
            pixel::to_planes(&file, [SIDE; 2], &OPTIONS, &mut scratch, &mut planes)
                .expect("a sound image");
        }
        _ => libjpeg_turbo(&file, &mut scratch),
    };
    // Looking at the clock costs some µs, and shows the last tick.
    let started = Instant::now();
    once();
    let batch = (20e-3 / started.elapsed().as_secs_f64()).ceil() as usize;
    let start = cpu();
    let mut images = 0.0;
    while cpu() - start < period {
        (0..batch).for_each(|_| once());
        images += batch as f64;
    }
    println!("{:.2}", (cpu() - start) / images);
}

#[cfg(feature = "oracle")]
fn libjpeg_turbo(file: &[u8], scratch: &mut Scratch) {
    let decoded = turbojpeg::decompress(file, turbojpeg::PixelFormat::RGB).expect("a sound JPEG");
    let image = pixel::Image::new(&decoded.pixels, decoded.width, decoded.height);
    let mut rgb = [0; SIDE * SIDE * 3];
    let resizer = &mut scratch.resizer;
    pixel::resize(image.expect("whole rows"), SIDE, SIDE, resizer, &mut rgb);
}

#[cfg(not(feature = "oracle"))]
fn libjpeg_turbo(_: &[u8], _: &mut Scratch) {
    unimplemented!("only with the cargo feature `oracle`");
}
