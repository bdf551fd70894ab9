//! The client against a daemon that does what a script says: breaks, repeats itself, is busy, dies.

#[cfg(test)]
mod calls;
#[cfg(test)]
mod files;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod streams;
