//! One source, several instruction sets, the same bits.
//!
//! A function that `vectorised!` defines is written once, in terms of `Simd`, and compiled for every [`Isa`]. Every
//! version performs the same roundings in the same order and returns the same bits, because:
//! - every operation of `Simd` is one operation of IEEE 754 in each lane,
//! - Rust never contracts `a·b + c` and never reorders floating-point operations,
//! - no version uses an approximate instruction.
//!
//! A test beside each such function checks this.

#[cfg(all(target_arch = "aarch64", not(granule_portable)))]
mod neon;
mod portable;
mod simd;
#[cfg(all(target_arch = "x86_64", not(granule_portable)))]
mod x86;

#[cfg(all(target_arch = "aarch64", not(granule_portable)))]
pub(crate) use neon::Neon;
pub(crate) use portable::Portable;
pub(crate) use simd::Simd;
#[cfg(all(target_arch = "x86_64", not(granule_portable)))]
pub(crate) use x86::{Avx2, Avx512};

/// An instruction set that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(pub(crate) Level);

/// The token of an instruction set. Code that holds a token may use its instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The instructions that the build target guarantees.
    Portable(Portable),
    #[cfg(all(target_arch = "aarch64", not(granule_portable)))]
    Neon(Neon),
    #[cfg(all(target_arch = "x86_64", not(granule_portable)))]
    Avx2(Avx2),
    #[cfg(all(target_arch = "x86_64", not(granule_portable)))]
    Avx512(Avx512),
}

impl Isa {
    /// Returns the widest instruction set.
    pub fn best() -> Isa {
        *Isa::available().last().expect("the portable one is always there")
    }

    /// Returns all instruction sets of this processor, the portable one first and the widest last.
    pub fn available() -> Vec<Isa> {
        #[allow(unused_mut)]
        let mut levels = vec![Isa(Level::Portable(Portable))];
        #[cfg(all(target_arch = "aarch64", not(granule_portable)))]
        levels.push(Isa(Level::Neon(Neon)));
        #[cfg(all(target_arch = "x86_64", not(granule_portable)))]
        {
            levels.extend(Avx2::detect().map(|token| Isa(Level::Avx2(token))));
            levels.extend(Avx512::detect().map(|token| Isa(Level::Avx512(token))));
        }
        levels
    }

    /// Returns the number of lanes of a vector.
    pub(crate) fn lanes(self) -> usize {
        match self.0 {
            Level::Portable(_) => Portable::LANES,
            #[cfg(all(target_arch = "aarch64", not(granule_portable)))]
            Level::Neon(_) => Neon::LANES,
            #[cfg(all(target_arch = "x86_64", not(granule_portable)))]
            Level::Avx2(_) => Avx2::LANES,
            #[cfg(all(target_arch = "x86_64", not(granule_portable)))]
            Level::Avx512(_) => Avx512::LANES,
        }
    }

    /// Returns its name for messages.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable(_) => "portable",
            #[cfg(all(target_arch = "aarch64", not(granule_portable)))]
            Level::Neon(_) => "neon",
            #[cfg(all(target_arch = "x86_64", not(granule_portable)))]
            Level::Avx2(_) => "avx2",
            #[cfg(all(target_arch = "x86_64", not(granule_portable)))]
            Level::Avx512(_) => "avx512",
        }
    }
}

/// Defines a function with a leading argument `isa: Isa`, compiled for each instruction set.
///
/// In `fn name<S>(simd, …) { … }`, `simd` in the body is a value of type `S: Simd`.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$S:ident>(
        $simd:ident $(, $arg:ident: $type:ty)* $(,)?
    ) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::isa::Isa, $($arg: $type),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body<$S: $crate::isa::Simd>($simd: $S, $($arg: $type),*) $(-> $ret)? $body

            #[cfg(all(target_arch = "x86_64", not(granule_portable)))]
            #[target_feature(enable = "avx2,popcnt")]
            #[allow(clippy::too_many_arguments)]
            fn avx2(token: $crate::isa::Avx2, $($arg: $type),*) $(-> $ret)? {
                body(token, $($arg),*)
            }

            #[cfg(all(target_arch = "x86_64", not(granule_portable)))]
            #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,popcnt")]
            #[allow(clippy::too_many_arguments)]
            fn avx512(token: $crate::isa::Avx512, $($arg: $type),*) $(-> $ret)? {
                body(token, $($arg),*)
            }

            match isa.0 {
                $crate::isa::Level::Portable(token) => body(token, $($arg),*),
                // The build target guarantees NEON, so this needs no version with other target features.
                #[cfg(all(target_arch = "aarch64", not(granule_portable)))]
                $crate::isa::Level::Neon(token) => body(token, $($arg),*),
                // SAFETY: a token exists only after the detection of every feature that this version is compiled with.
                #[cfg(all(target_arch = "x86_64", not(granule_portable)))]
                $crate::isa::Level::Avx2(token) => unsafe { avx2(token, $($arg),*) },
                // SAFETY: as above.
                #[cfg(all(target_arch = "x86_64", not(granule_portable)))]
                $crate::isa::Level::Avx512(token) => unsafe { avx512(token, $($arg),*) },
            }
        }
    };
}
pub(crate) use vectorised;
