//! What libjpeg-turbo makes of a JPEG file.

use turbojpeg::raw;

/// What libjpeg-turbo makes of a file of this size; `None` if it refuses it. Warnings do not count:
/// OpenCV takes no notice of them. By its C functions, since the crate's own refuse a file of which
/// the header has a warning.
#[allow(unsafe_code)]
pub(crate) fn libjpeg(file: &[u8], width: usize, height: usize, is_cmyk: bool) -> Option<Vec<u8>> {
    let (format, bytes) = if is_cmyk {
        (raw::TJPF_TJPF_CMYK, 4)
    } else {
        (raw::TJPF_TJPF_RGB, 3)
    };
    let pitch = width * bytes;
    let mut pixels = vec![0; pitch * height];
    // SAFETY: the handle is used by this thread alone and destroyed once; `file` and `pixels` outlive
    // the calls, and `pixels` has the size of the header that was read just before.
    let taken = unsafe {
        let handle = raw::tj3Init(raw::TJINIT_TJINIT_DECOMPRESS as i32);
        let length = file.len() as raw::size_t;
        let is_fatal =
            |result| result != 0 && raw::tj3GetErrorCode(handle) == raw::TJERR_TJERR_FATAL as i32;
        let header = is_fatal(raw::tj3DecompressHeader(handle, file.as_ptr(), length));
        let size = [
            raw::TJPARAM_TJPARAM_JPEGWIDTH,
            raw::TJPARAM_TJPARAM_JPEGHEIGHT,
        ]
        .map(|parameter| raw::tj3Get(handle, parameter as i32));
        let taken = !header
            && size == [width as i32, height as i32]
            && !is_fatal(raw::tj3Decompress8(
                handle,
                file.as_ptr(),
                length,
                pixels.as_mut_ptr(),
                pitch as i32,
                format,
            ));
        raw::tj3Destroy(handle);
        taken
    };
    if !taken || !is_cmyk {
        return taken.then_some(pixels);
    }
    // As OpenCV converts it.
    let inks = pixels.as_chunks::<4>().0.iter();
    let rgb = inks.flat_map(|&[cyan, magenta, yellow, black]| {
        let k = i32::from(black);
        [cyan, magenta, yellow].map(|ink| (k - (((255 - i32::from(ink)) * k) >> 8)) as u8)
    });
    Some(rgb.collect())
}

/// The number of components in a file's frame header.
pub(crate) fn components(file: &[u8]) -> u8 {
    let mut at = 2;
    loop {
        let marker = at + file[at..].iter().position(|byte| *byte == 0xFF).unwrap();
        let code = file[marker + 1];
        at = match code {
            0xFF => marker + 1,
            0 | 1 | 0xD0..=0xD8 => marker + 2,
            0xC0..=0xC2 => return file[marker + 9],
            _ => marker + 2 + usize::from(u16::from_be_bytes([file[marker + 2], file[marker + 3]])),
        };
    }
}
