//! What carries jobs out.
//!
//! [`process`] starts them and looks at them; [`attempt`] is the process of one, and [`supervise`]
//! and [`checkout`] what it does. Start with [`process`].

pub mod attempt;
pub mod checkout;
pub mod process;
pub mod supervise;
