package identity

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// TestRevocations creates lists of every kind with ssh-keygen, and compares each decision with
// ssh-keygen's.
func TestRevocations(t *testing.T) {
	w := newWorkshop(t)
	staff := w.key("staff", "-t", "ed25519")
	w.key("other", "-t", "ed25519")
	people := []string{"ada", "bob"}
	for _, name := range people {
		w.key(name, "-t", "ed25519")
	}
	certs := make(map[string]*ssh.Certificate) // by file
	for _, ca := range []string{"staff", "other"} {
		for _, name := range people {
			for _, serial := range []int{0, 1, 5, 6, 900, 1001, 1007, 70000} {
				file := fmt.Sprintf("%s-%s-%d", ca, name, serial)
				w.write(file+".pub", string(w.file(name+".pub")))
				certs[file+"-cert.pub"] = w.sign(ca, file, "-I", fmt.Sprintf("%s at %d", name, serial), "-n", "web", "-z", fmt.Sprint(serial))
			}
		}
	}
	var scattered strings.Builder // which becomes a bitmap
	for serial := 1001; serial < 1100; serial += 3 {
		fmt.Fprintf(&scattered, "serial: %d\n", serial)
	}
	digest := func(name string) string { return ssh.FingerprintSHA256(w.public(name + ".pub")) }
	for name, spec := range map[string]string{
		"nothing":    "",
		"serials":    "serial: 5\nserial: 70000\n",
		"range":      "serial: 5-900\n",
		"bitmap":     scattered.String(),
		"key ID":     "id: bob at 6\n",
		"key":        "key: " + string(w.file("ada.pub")),
		"bare key":   string(w.file("ada.pub")),
		"digest":     "hash: " + digest("bob") + "\n",
		"SHA-1":      "sha1: " + string(w.file("bob.pub")),
		"the CA":     "key: " + string(w.file("staff.pub")),
		"everything": "serial: 1\nid: bob at 6\nkey: " + string(w.file("ada.pub")) + scattered.String(),
	} {
		t.Run(name, func(t *testing.T) {
			w.write("spec", spec)
			w.keygen("-k", "-f", "krl", "-s", "staff.pub", "-z", "3", "spec")
			revoked, err := ParseRevocations(w.file("krl"))
			if err != nil {
				t.Fatal(err)
			}
			hits := 0
			for file, cert := range certs {
				want := w.revokes("krl", file)
				if want {
					hits++
				}
				if got := revoked.Revokes(cert); got != want {
					t.Errorf("%s is revoked: %t; ssh-keygen says %t", file, got, want)
				}
			}
			if (hits == 0) != (spec == "") {
				t.Errorf("the list revokes %d certificates", hits)
			}
		})
	}
	// A list that is not restricted to a CA.
	w.write("spec", "id: bob at 6\n")
	w.keygen("-k", "-f", "krl", "-s", "none", "spec")
	revoked, err := ParseRevocations(w.file("krl"))
	if err != nil {
		t.Fatal(err)
	}
	for file, cert := range certs {
		if got := revoked.Revokes(cert); got != (cert.KeyId == "bob at 6") {
			t.Errorf("by any CA: %s is revoked: %t", file, got)
		}
	}
	// The text form, for the CA that it is used for.
	text, err := ParseRevocations([]byte("# lost\nserial: 5 # Ada's\nserial:0x384-1001\nid: bob at 6\n\nsha256: " + digest("ada") + "\n" + string(w.file("other.pub"))))
	if err != nil {
		t.Fatal(err)
	}
	for file, cert := range certs {
		want := cert.Serial == 5 || cert.Serial >= 900 && cert.Serial <= 1001 || cert.KeyId == "bob at 6" ||
			strings.Contains(file, "ada") || string(cert.SignatureKey.Marshal()) != string(staff.Marshal())
		if got := text.Revokes(cert); got != want {
			t.Errorf("by the text: %s is revoked: %t", file, got)
		}
	}
}

// revokes returns the decision of ssh-keygen about a certificate: -Q exits with 1 if it is revoked.
func (w workshop) revokes(list, cert string) bool {
	w.t.Helper()
	status, out := w.query(list, cert)
	if status > 1 || status == 1 && !strings.Contains(out, "REVOKED") {
		w.t.Fatalf("ssh-keygen -Q: status %d\n%s", status, out)
	}
	return status == 1
}

func TestBadRevocations(t *testing.T) {
	w := newWorkshop(t)
	w.key("staff", "-t", "ed25519")
	w.write("spec", "serial: 5\nserial: 1000-2000\nid: x\n"+string(w.file("staff.pub")))
	w.keygen("-k", "-f", "krl", "-s", "staff.pub", "spec")
	whole := w.file("krl")
	if _, err := ParseRevocations(whole); err != nil {
		t.Fatal(err)
	}
	// A list that is truncated between two sections is valid: it does not contain its length.
	boundaries := 0
	for n := len(krlMagic); n < len(whole); n++ {
		if _, err := ParseRevocations(whole[:n]); err == nil {
			boundaries++
		}
	}
	if boundaries != 2 {
		t.Errorf("%d of %d prefixes are accepted as a list", boundaries, len(whole))
	}
	section := func(kind byte, data string) []byte {
		return append(append([]byte{}, whole...), append([]byte{kind, 0, 0, 0, byte(len(data))}, data...)...)
	}
	for name, data := range map[string][]byte{
		"unknown section":      section(9, ""),
		"signature":            section(4, ""),
		"critical extension":   section(krlExtension, "\x00\x00\x00\x01x\x01\x00\x00\x00\x00"),
		"newer format":         append([]byte(krlMagic), 0, 0, 0, 2),
		"serial of no number":  []byte("serial: x"),
		"serial 0":             []byte("serial: 0"),
		"range backwards":      []byte("serial: 5-4"),
		"no key ID":            []byte("id:"),
		"digest of SHA-1":      []byte("sha256: SHA256:AAAA"),
		"word":                 []byte("serials: 5"),
		"private key":          w.file("staff"),
		"key that is none":     []byte("ssh-ed25519 AAAA"),
		"a page of a web site": []byte("<html>"),
	} {
		if _, err := ParseRevocations(data); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := ParseRevocations(section(krlExtension, "\x00\x00\x00\x01x\x00\x00\x00\x00\x00")); err != nil {
		t.Errorf("an extension that is not critical: %v", err)
	}
	for _, empty := range []string{"", "# nothing yet\n"} {
		if _, err := ParseRevocations([]byte(empty)); err != nil {
			t.Errorf("%q: %v", empty, err)
		}
	}
}

// TestNoSerial: certificates without a serial number, which have 0, are not revoked by a range
// around it.
func TestNoSerial(t *testing.T) {
	w := newWorkshop(t)
	w.key("staff", "-t", "ed25519")
	list := newCertificateList("")
	list.ranges = []serialRange{{0, 5}}
	r := &Revocations{lists: []certificateList{list}}
	for serial, want := range map[string]bool{"0": false, "5": true} {
		if cert := w.sign("staff", "staff", "-I", "u-1", "-z", serial); r.Revokes(cert) != want {
			t.Errorf("serial %s is revoked: %t", serial, !want)
		}
	}
}

func FuzzParseRevocations(f *testing.F) {
	w := newWorkshop(f)
	w.key("staff", "-t", "ed25519")
	w.write("spec", "serial: 5\nserial: 1000-2000\nserial: 9\nserial: 11\nserial: 13\nid: x\n"+string(w.file("staff.pub")))
	w.keygen("-k", "-f", "krl", "-s", "staff.pub", "spec")
	f.Add(w.file("krl"))
	f.Add(w.file("spec"))
	w.key("ada", "-t", "ed25519")
	cert := w.sign("staff", "ada", "-I", "u-1", "-n", "web", "-z", "5")
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := ParseRevocations(data); err == nil {
			r.Revokes(cert)
		}
	})
}
