package role

import "testing"

func TestMay(t *testing.T) {
	want := map[Role]string{Viewer: "y----", Auditor: "yyy--", Operator: "y-yy-", Admin: "yyyyy", "": "-----", "root": "-----"}
	for r, permissions := range want {
		for p := View; p <= Administer; p++ {
			if may := permissions[p-View] == 'y'; r.May(p) != may {
				t.Errorf("%s, permission %d: %t; expected %t", r, p, r.May(p), may)
			}
		}
		if r.May(0) || r.May(Administer+1) {
			t.Errorf("%s has a permission that does not exist", r)
		}
	}
	if got := Sentence(Operate); got != "operator or admin" {
		t.Error(got)
	}
	if got := Sentence(Administer); got != "admin" {
		t.Error(got)
	}
}

func TestTokens(t *testing.T) {
	tokens := Tokens{{Name: "a", Secret: "A", Grant: Grant{Viewer, false}}, {Name: "empty"}, {Name: "b", Secret: "B", Grant: Grant{Auditor, true}}}
	for secret, name := range map[string]string{"A": "a", "B": "b", "": "", "a": "", "AB": ""} {
		if got, ok := tokens.Find(secret); got.Name != name || ok != (name != "") {
			t.Errorf("%q: %q, %t", secret, got.Name, ok)
		}
	}
}

func TestRules(t *testing.T) {
	if got := (Rules{}).Grant("ada@example.com", nil); got != All() {
		t.Errorf("without rules: %+v", got)
	}
	rules := Rules{
		{Group: "sre", Grant: Grant{Operator, true}},
		{Email: "ada@example.com", Grant: Grant{Auditor, true}},
		{Email: "*@example.com", Grant: Grant{Auditor, false}},
	}
	for _, test := range []struct {
		email  string
		groups []string
		want   Grant
	}{
		{"Ada@Example.com", nil, Grant{Auditor, true}},
		{"ada@example.com", []string{"x", "sre"}, Grant{Operator, true}},
		{"bob@example.com", nil, Grant{Auditor, false}},
		{"bob@example.com.evil.org", nil, Grant{Viewer, false}},
		{"@example.com", nil, Grant{Viewer, false}},
		{"", nil, Grant{Viewer, false}},
	} {
		if got := rules.Grant(test.email, test.groups); got != test.want {
			t.Errorf("%s, %q: %+v; expected %+v", test.email, test.groups, got, test.want)
		}
	}
}
