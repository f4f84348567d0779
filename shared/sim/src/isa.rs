//! One source, several instruction sets, the same bits.
//!
//! `vectorised!` compiles a function once for every [`Isa`]; the compiler turns its loops into
//! vectors of that width. Rust never contracts `a·b + c` nor reorders floating-point operations, so
//! every version performs the same roundings in the same order and returns the same bits. A test
//! beside each such function holds that.

/// An instruction set that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(pub(crate) Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(crate) enum Level {
    /// What the target of the build guarantees.
    Baseline,
    Avx2,
    Avx512,
}

impl Isa {
    /// The widest one.
    pub fn best() -> Isa {
        *Isa::available().last().expect("the baseline is always there")
    }

    /// All that this processor has, the baseline first and the widest last.
    pub fn available() -> Vec<Isa> {
        // Values of `Isa` other than the baseline are made here only, after detection: that is the
        // proof which the unsafe calls in `vectorised!` rest on.
        #[allow(unused_mut)]
        let mut levels = vec![Isa(Level::Baseline)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                levels.push(Isa(Level::Avx2));
            }
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
            {
                levels.push(Isa(Level::Avx512));
            }
        }
        levels
    }

    /// A name for people.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Baseline => "baseline",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        }
    }
}

/// Defines a function with a leading argument `isa: Isa`, compiled for each instruction set.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name(isa: $crate::isa::Isa, $($arg: $type),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body($($arg: $type),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $type),*) $(-> $ret)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $type),*) $(-> $ret)? {
                    body($($arg),*)
                }
                match isa.0 {
                    $crate::isa::Level::Baseline => body($($arg),*),
                    // SAFETY: an `Isa` above the baseline exists only where `Isa::available`
                    // detected every feature that its version is compiled with.
                    $crate::isa::Level::Avx2 => unsafe { avx2($($arg),*) },
                    // SAFETY: as above.
                    $crate::isa::Level::Avx512 => unsafe { avx512($($arg),*) },
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                let _ = isa;
                body($($arg),*)
            }
        }
    };
}
pub(crate) use vectorised;
