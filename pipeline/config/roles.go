package config

import (
	"fmt"
	"slices"
)

// finishTokens checks the tokens of the admin server.
func (a *Admin) finishTokens(d *decoder) {
	const at = "admin.tokens"
	d.notEmpty(at, len(a.Tokens))
	names := make(map[string]bool)
	for i, t := range a.Tokens {
		path := fmt.Sprintf("%s[%d]", at, i)
		if d.usable(path + ".name") {
			if names[t.Name] {
				d.refuse(codeDuplicate, path+".name", "%s is the name of an earlier token; expected another one", quote(t.Name))
			}
			names[t.Name] = true
		}
		d.checkToken(path+".token", t.Token)
		if same := func(s Secret) bool { return s.Reveal() == t.Token.Reveal() }; d.usable(path+".token") &&
			(same(a.Token) || slices.ContainsFunc(a.Tokens[:i], func(o AdminToken) bool { return same(o.Token) })) {
			d.refuse(codeDuplicate, path+".token", "is the same as another token; expected one of its own, so that its role is known")
		}
	}
}

// finishRoles checks the roles of the console's users.
func (o *Console) finishRoles(d *decoder, console string) {
	at := console + ".roles"
	d.notEmpty(at, len(o.Roles))
	if d.given(at) && !d.given(console+".oidc") && !d.given(console+".proxy_header") {
		d.refuse(codeElsewhere, at, "is for a console with oidc or proxy_header; expected admin.tokens for the roles of tokens, or none")
	}
	for i, r := range o.Roles {
		path := fmt.Sprintf("%s[%d]", at, i)
		email, group := d.given(path+".email"), d.given(path+".group")
		switch {
		case email && group:
			d.refuse(codeExclusive, path+".group", "is set together with email; expected only one of them: the first entry that matches a user counts")
		case !email && !group:
			d.refuse(codeMissing, path, "names nobody; expected email (*@example.com for all of a domain) or group")
		case group && d.given(console+".proxy_header"):
			d.refuse(codeElsewhere, path+".group", "is for a console with oidc; expected email, since a proxy sends no groups")
		case email && d.usable(path+".email"):
			d.checkEmail(path+".email", r.Email)
		}
	}
}
