//! A source file with a switch at every mutant's place:
//! `a < b` becomes `(if is(7) {a <= b} else if is(8) {a > b} else {a < b})`.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Result, bail};

use crate::hosts::{Form, Host, Hosts};
use crate::list::{Genre, Mutant};

/// The file as it is compiled, and where in it each mutant is.
pub struct Rewritten {
    pub text: String,
    pub places: Vec<(Range<usize>, u32)>,
    /// Where the switches of arms are.
    pub arms: BTreeMap<usize, u32>,
}

/// What a mutant puts in the place of its host.
struct Other {
    id: u32,
    text: String,
}

struct Switch {
    host: Host,
    others: Vec<Other>,
}

/// Switches by where they begin, the outer of two first.
type Switches = BTreeMap<(usize, std::cmp::Reverse<usize>, bool), Switch>;

/// `mutants` are those of this file. A switch cannot stand in what is computed while
/// compiling; the mutants there are left out, and named by their numbers.
pub fn rewrite(source: &str, mutants: &[&Mutant]) -> Result<(Rewritten, Vec<u32>)> {
    let hosts = Hosts::of(source)?;
    let mut switches = Switches::new();
    let mut fixed = Vec::new();
    for mutant in mutants {
        let span = mutant.start.byte(source)..mutant.end.byte(source);
        let Some(host) = host(&hosts, mutant, &span) else { bail!("{}: not found", mutant.name) };
        if host.is_fixed {
            fixed.push(mutant.id);
            continue;
        }
        let text = other(source, mutant, &host, &span);
        let is_arm = matches!(host.form, Form::Guarded);
        let key = (host.range.start, std::cmp::Reverse(host.range.end), !is_arm);
        let switch = switches.entry(key).or_insert(Switch { host, others: Vec::new() });
        switch.others.push(Other { id: mutant.id, text });
    }
    let mut writer = Writer {
        source,
        switches: switches.into_values().collect(),
        next: 0,
        done: 0,
        out: Rewritten { text: String::new(), places: Vec::new(), arms: BTreeMap::new() },
    };
    writer.up_to(source.len());
    Ok((writer.out, fixed))
}

fn host(hosts: &Hosts, mutant: &Mutant, span: &Range<usize>) -> Option<Host> {
    let by_start = match mutant.genre {
        Genre::FnValue => {
            let is_fixed = hosts.is_constant(span);
            return Some(Host { range: span.clone(), form: Form::Either, is_fixed });
        }
        Genre::BinaryOperator | Genre::UnaryOperator => &hosts.operators,
        Genre::MatchArmGuard => &hosts.guards,
        Genre::MatchArm => &hosts.arms,
        Genre::StructField => &hosts.fields,
    };
    by_start.get(&span.start).cloned()
}

fn other(source: &str, mutant: &Mutant, host: &Host, span: &Range<usize>) -> String {
    match &host.form {
        Form::Either => {
            let (before, after) =
                (&source[host.range.start..span.start], &source[span.end..host.range.end]);
            format!("{before}{}{after}", mutant.replacement)
        }
        Form::Unguarded | Form::Guarded => String::new(),
        Form::Field { otherwise, .. } => otherwise.clone(),
    }
}

struct Writer<'a> {
    source: &'a str,
    switches: Vec<Switch>,
    next: usize,
    done: usize,
    out: Rewritten,
}

impl Writer<'_> {
    /// Writes the source up to this byte, with the switches that begin before it.
    fn up_to(&mut self, end: usize) {
        while let Some(switch) = self.switches.get(self.next)
            && switch.host.range.start < end.max(1)
            && switch.host.range.end <= end
        {
            let (host, others) =
                (switch.host.clone(), std::mem::take(&mut self.switches[self.next].others));
            self.next += 1;
            self.plain(host.range.start);
            self.switch(&host, &others);
        }
        self.plain(end);
    }

    fn plain(&mut self, end: usize) {
        self.out.text.push_str(&self.source[self.done..end]);
        self.done = end;
    }

    fn switch(&mut self, host: &Host, others: &[Other]) {
        if matches!(host.form, Form::Unguarded | Form::Guarded) {
            self.out.arms.insert(self.out.text.len(), others[0].id);
        }
        match &host.form {
            Form::Unguarded => {
                self.marked(others[0].id, &format!(" if !crate::switches::is({})", others[0].id));
            }
            Form::Guarded => {
                self.marked(others[0].id, &format!("!crate::switches::is({}) && (", others[0].id));
                self.up_to(host.range.end);
                self.out.text.push(')');
            }
            Form::Either => self.either(host, others),
            Form::Field { shorthand, .. } => {
                if *shorthand {
                    let name = &self.source[host.range.clone()];
                    self.out.text.extend([name, ": "]);
                }
                self.either(host, others);
            }
        }
    }

    fn either(&mut self, host: &Host, others: &[Other]) {
        let is_expression = syn::parse_str::<syn::Expr>(&self.source[host.range.clone()]).is_ok();
        let start = self.out.text.len();
        self.out.text.push_str(if is_expression { "(" } else { "" });
        for Other { id, text } in others {
            self.marked(*id, &format!("if crate::switches::is({id}) {{ {text} }} else "));
        }
        self.out.text.push('{');
        self.up_to(host.range.end);
        self.out.text.push_str(if is_expression { "})" } else { "}" });
        // What the compiler says of the whole is said of each: it comes after them.
        let whole = start..self.out.text.len();
        self.out.places.extend(others.iter().map(|other| (whole.clone(), other.id)));
    }

    fn marked(&mut self, id: u32, text: &str) {
        let start = self.out.text.len();
        self.out.text.push_str(text);
        self.out.places.push((start..self.out.text.len(), id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list;

    /// One mutant: of a genre, from one column to another of the only line.
    fn mutant(genre: &str, from: usize, to: usize, replacement: &str) -> String {
        format!(
            r#"{{"name": "it", "file": "f.rs", "genre": "{genre}", "replacement": "{replacement}",
            "span": {{"start": {{"line": 1, "column": {from}}}, "end": {{"line": 1, "column": {to}}}}}}}"#
        )
    }

    fn rewritten(source: &str, mutants: &[String]) -> (String, Vec<u32>) {
        let mutants = list::parse(&format!("[{}]", mutants.join(","))).unwrap();
        let (rewritten, fixed) = rewrite(source, &mutants.iter().collect::<Vec<_>>()).unwrap();
        (rewritten.text.replace("crate::switches::", ""), fixed)
    }

    #[test]
    fn an_operator_has_a_branch_for_each_other_and_one_for_itself() {
        let others = [mutant("BinaryOperator", 24, 25, "-"), mutant("BinaryOperator", 24, 25, "*")];
        let (text, _) = rewritten("fn f(a: u8) -> u8 { a  + 1 }", &others);
        let expected = "if is(1) { a  - 1 } else if is(2) { a  * 1 } else {a  + 1}";
        assert_eq!(text, format!("fn f(a: u8) -> u8 {{ ({expected}) }}"));
    }

    #[test]
    fn a_switch_in_a_switch_is_in_the_branch_of_the_source_only() {
        let others = [mutant("BinaryOperator", 20, 22, "||"), mutant("UnaryOperator", 17, 18, "")];
        let (text, _) = rewritten("fn f() -> bool {!a && b }", &others);
        let inner = "(if is(2) { a } else {!a})";
        let expected = format!("(if is(1) {{ !a || b }} else {{{inner} && b}})");
        assert_eq!(text, format!("fn f() -> bool {{{expected} }}"));
    }

    #[test]
    fn an_arm_is_switched_off_by_its_guard() {
        let source = "fn f() { match a { 1 => b, 2 if c => d, _ => e } }";
        let others = [mutant("MatchArm", 20, 27, ""), mutant("MatchArm", 28, 40, "")];
        let (text, _) = rewritten(source, &others);
        let arms = "1 if !is(1) => b, 2 if !is(2) && (c) => d, _ => e";
        assert_eq!(text, format!("fn f() {{ match a {{ {arms} }} }}"));
    }

    #[test]
    fn what_is_computed_while_compiling_stays_as_it_is() {
        let source = "const A: u8 = 1 + 2;";
        let (text, fixed) = rewritten(source, &[mutant("BinaryOperator", 17, 18, "-")]);
        assert_eq!((text.as_str(), fixed), (source, vec![1]));
    }

    #[test]
    fn a_field_that_is_left_out_is_what_the_rest_has() {
        let (text, _) =
            rewritten("fn f() -> A { A { b, ..c() } }", &[mutant("StructField", 19, 21, "")]);
        let other = "b: (if is(1) { { let rest: A = c(); rest.b } } else {b})";
        assert_eq!(text, format!("fn f() -> A {{ A {{ {other}, ..c() }} }}"));
    }
}
