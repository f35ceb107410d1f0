//! The smallest piece of syntax around a mutant that a switch can stand for, and
//! whether it is run at all: what is computed while compiling has no switch.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::Result;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// How a switch is put around a piece.
#[derive(Clone)]
pub enum Form {
    /// An expression or a whole body: the piece or another.
    Either,
    /// An arm without a guard: a guard at this place switches it off.
    Unguarded,
    /// An arm with a guard, which is the piece.
    Guarded,
    /// A field's value, beside what the rest of the structure would give it.
    Field { otherwise: String, shorthand: bool },
}

#[derive(Clone)]
pub struct Host {
    pub range: Range<usize>,
    pub form: Form,
    /// No switch can stand here.
    pub is_fixed: bool,
}

/// The hosts of a file by the byte at which cargo-mutants has their mutants begin.
#[derive(Default)]
pub struct Hosts<'a> {
    source: &'a str,
    pub operators: HashMap<usize, Host>,
    pub guards: HashMap<usize, Host>,
    pub arms: HashMap<usize, Host>,
    pub fields: HashMap<usize, Host>,
    pub constants: Vec<Range<usize>>,
}

impl<'a> Hosts<'a> {
    pub fn of(source: &'a str) -> Result<Self> {
        let mut hosts = Self { source, ..Self::default() };
        hosts.visit_file(&syn::parse_file(source)?);
        Ok(hosts)
    }

    pub fn is_constant(&self, range: &Range<usize>) -> bool {
        self.constants
            .iter()
            .any(|constant| constant.start <= range.start && range.end <= constant.end)
    }

    fn host(&self, range: Range<usize>, form: Form) -> Host {
        Host { is_fixed: self.is_constant(&range), range, form }
    }

    fn text(&self, range: Range<usize>) -> String {
        self.source[range].to_owned()
    }
}

fn bytes(piece: &impl Spanned) -> Range<usize> {
    piece.span().byte_range()
}

/// `a && let Some(x) = b` binds what comes after it, so it cannot be wrapped.
fn binds(operand: &syn::Expr) -> bool {
    match operand {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => binds(&binary.left) || binds(&binary.right),
        _ => false,
    }
}

impl Visit<'_> for Hosts<'_> {
    fn visit_item_const(&mut self, item: &syn::ItemConst) {
        self.constants.push(bytes(item));
        visit::visit_item_const(self, item);
    }

    fn visit_item_static(&mut self, item: &syn::ItemStatic) {
        self.constants.push(bytes(item));
        visit::visit_item_static(self, item);
    }

    fn visit_impl_item_const(&mut self, item: &syn::ImplItemConst) {
        self.constants.push(bytes(item));
        visit::visit_impl_item_const(self, item);
    }

    fn visit_trait_item_const(&mut self, item: &syn::TraitItemConst) {
        self.constants.push(bytes(item));
        visit::visit_trait_item_const(self, item);
    }

    fn visit_type_array(&mut self, array: &syn::TypeArray) {
        self.constants.push(bytes(&array.len));
        visit::visit_type_array(self, array);
    }

    fn visit_expr_repeat(&mut self, repeat: &syn::ExprRepeat) {
        self.constants.push(bytes(&repeat.len));
        visit::visit_expr_repeat(self, repeat);
    }

    fn visit_expr_const(&mut self, block: &syn::ExprConst) {
        self.constants.push(bytes(block));
        visit::visit_expr_const(self, block);
    }

    fn visit_generic_argument(&mut self, argument: &syn::GenericArgument) {
        if let syn::GenericArgument::Const(value) = argument {
            self.constants.push(bytes(value));
        }
        visit::visit_generic_argument(self, argument);
    }

    fn visit_variant(&mut self, variant: &syn::Variant) {
        if let Some((_, number)) = &variant.discriminant {
            self.constants.push(bytes(number));
        }
        visit::visit_variant(self, variant);
    }

    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        if item.sig.constness.is_some() {
            self.constants.push(bytes(item));
        }
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
        if item.sig.constness.is_some() {
            self.constants.push(bytes(item));
        }
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_expr_binary(&mut self, binary: &syn::ExprBinary) {
        let mut host = self.host(bytes(binary), Form::Either);
        host.is_fixed |= binds(&binary.left) || binds(&binary.right);
        self.operators.insert(bytes(&binary.op).start, host);
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &syn::ExprUnary) {
        let host = self.host(bytes(unary), Form::Either);
        self.operators.insert(bytes(&unary.op).start, host);
        visit::visit_expr_unary(self, unary);
    }

    fn visit_arm(&mut self, arm: &syn::Arm) {
        let start = bytes(arm).start;
        let host = if let Some((_, guard)) = &arm.guard {
            let guard = bytes(guard);
            self.guards.insert(guard.start, self.host(guard.clone(), Form::Either));
            self.host(guard, Form::Guarded)
        } else {
            let end = bytes(&arm.pat).end;
            self.host(end..end, Form::Unguarded)
        };
        self.arms.insert(start, host);
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, structure: &syn::ExprStruct) {
        if let Some(rest) = &structure.rest {
            let (path, rest) = (self.text(bytes(&structure.path)), self.text(bytes(rest)));
            for field in &structure.fields {
                let name = self.text(bytes(&field.member));
                let otherwise = format!("{{ let rest: {path} = {rest}; rest.{name} }}");
                let form = Form::Field { otherwise, shorthand: field.colon_token.is_none() };
                self.fields.insert(bytes(field).start, self.host(bytes(&field.expr), form));
            }
        }
        visit::visit_expr_struct(self, structure);
    }
}
