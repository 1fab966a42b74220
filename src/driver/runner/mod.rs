//! What carries jobs out.
//!
//! [`process`] starts them and looks at them; [`attempt`] is the process of one, and [`supervise`]
//! and [`checkout`] what it does. What the one before left in its lane is the business of [`lane`].
//! Start with [`process`].

pub mod attempt;
pub mod checkout;
pub mod lane;
pub mod process;
pub mod supervise;
