//! C libraries, loaded when they are first needed: a server without them does without them.

use libloading::Library;

/// Opens the libraries called `names`.
///
/// # Errors
/// What the loader says: which is not there.
pub(super) fn open(names: &[&str]) -> Result<Vec<Library>, libloading::Error> {
    let open = |name: &&str| {
        // SAFETY: what the libraries do when they are loaded is to set themselves up.
        unsafe { Library::new(*name) }
    };
    names.iter().map(open).collect()
}

/// The function `name`, which ends with a zero byte, of whichever of `libraries` has it.
///
/// # Safety
/// `T` is the type of a pointer to that function, used only while the libraries are there.
///
/// # Errors
/// What the loader says, if none of them has it.
pub(super) unsafe fn symbol<T: Copy>(
    libraries: &[Library],
    name: &[u8],
) -> Result<T, libloading::Error> {
    let mut found = libraries.iter().map(|library| {
        // SAFETY: the caller says what it is.
        unsafe { library.get::<T>(name).map(|symbol| *symbol) }
    });
    let first = found.next().expect("at least one library");
    found.fold(first, Result::or)
}

/// Declares the functions that are used of some libraries, as a struct of pointers, and a function
/// that loads them once.
macro_rules! functions {
    ($libraries:expr; $($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions that are used.
        pub(super) struct Functions {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            _libraries: Vec<libloading::Library>,
        }

        impl Functions {
            fn load() -> Result<Self, libloading::Error> {
                let libraries = $crate::backend::library::open(&$libraries)?;
                Ok(Self {
                    $($name: {
                        let name = concat!(stringify!($name), "\0").as_bytes();
                        // SAFETY: the header declares it like this, and `_libraries` keeps the
                        // library for as long as the pointer is there.
                        unsafe { $crate::backend::library::symbol(&libraries, name)? }
                    },)*
                    _libraries: libraries,
                })
            }
        }

        /// The functions, loaded once.
        ///
        /// # Errors
        /// What the loader says: which library, or which function, is not there.
        pub(super) fn functions() -> Result<&'static Functions, &'static str> {
            static LOADED: std::sync::OnceLock<Result<Functions, String>> =
                std::sync::OnceLock::new();
            let load = || Functions::load().map_err(|error| error.to_string());
            LOADED.get_or_init(load).as_ref().map_err(String::as_str)
        }
    };
}

pub(super) use functions;
