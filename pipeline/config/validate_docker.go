package config

import (
	"regexp"
	"strings"
)

func (c *Config) finishDocker(d *decoder) {
	secure := true
	if d.usable("docker.host") {
		if path, ok := strings.CutPrefix(c.Docker.Host, "unix://"); ok {
			secure = false
			if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#") {
				d.refuse(codeAddress, "docker.host", "is not the path of a socket; expected unix:///var/run/docker.sock, with three slashes")
			}
		} else {
			secure = c.Docker.finishAddress(d)
		}
	} else if !d.given("docker.host") {
		secure = false
	}
	c.Docker.TLS.check(d, secure)
}

// finishAddress checks the host if it is not a socket, and reports whether the daemon is used over
// TLS.
func (k *Docker) finishAddress(d *decoder) (secure bool) {
	u, problem := parseURL(k.Host, "unix", "tcp")
	switch {
	case problem != "":
		d.refuse(codeURL, "docker.host", "%s", problem)
	case u.Scheme == "tcp" && u.Port() == "":
		d.refuse(codeAddress, "docker.host", "has no port; expected one, such as 2376, which is usual with TLS")
	case u.Scheme == "tcp" && (u.Path != "" || u.RawQuery != ""):
		d.refuse(codeAddress, "docker.host", "has something after its port; expected tcp://HOST:PORT")
	case u.Scheme == "tcp" && k.TLS == (TLS{}) && !isLoopback(u):
		d.refuse(codePlain, "docker.host", "is another machine without TLS, where every client has root permissions; expected ca_file, cert_file and key_file as well")
	}
	return true
}

// check checks the settings of TLS, and that TLS is used if there are any.
func (t *TLS) check(d *decoder, secure bool) {
	d.checkTLS("docker", t)
	if secure {
		return
	}
	for _, name := range []string{"ca_file", "cert_file", "key_file", "server_name", "fingerprint_sha256"} {
		if at := join("docker", name); d.usable(at) {
			d.refuse(codeElsewhere, at, "is for TLS, and the host is a socket; expected a host such as tcp://docker.example.com:2376, or this left out")
		}
	}
}

var (
	// imageForm roughly matches names of images; the daemon decides.
	imageForm = lateForm(`^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}$`)
	// containerForm matches a container's name or ID (daemon/names of the Docker daemon).
	containerForm = lateForm(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$`)
	// accountForm matches the name or ID of a Linux user.
	accountForm = regexp.MustCompile(`^([a-z_][a-z0-9_.-]{0,31}|[0-9]{1,9})$`)
	// containerUserForm matches USER or USER:GROUP, each a name or an ID.
	containerUserForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$`)
)

// finishRuntime checks the settings of the app's runtime.
func (a *App) finishRuntime(d *decoder, path string) {
	if d.given(path+".runtime") && !d.usable(path+".runtime") {
		return
	}
	ofDocker := []string{"image", "from_container", "pull"}
	if a.Runtime != RuntimeDocker {
		for _, name := range ofDocker {
			if d.given(path + "." + name) {
				d.refuse(codeElsewhere, path+"."+name, "is for the runtime docker, and this app's is %s; expected runtime: docker as well, or this left out", a.Runtime)
			}
		}
		if d.usable(path+".user") && !accountForm.MatchString(a.User) {
			d.refuse(codeForm, path+".user", "%s is not possible here; expected a user's name or number, such as deploy or 1000", quote(a.User))
		}
		return
	}
	if d.given(path + ".root") {
		d.refuse(codeElsewhere, path+".root", "is for the runtime sandbox, and this app's is docker: its image has the files; expected this left out")
	}
	for _, name := range []string{"network", "writable"} {
		if d.given(path + "." + name) {
			d.refuse(codeElsewhere, path+"."+name, "is for the runtime sandbox, and this app's is docker: its container has its own; expected this left out")
		}
	}
	image, from := d.given(path+".image"), d.given(path+".from_container")
	switch {
	case image && from:
		d.refuse(codeExclusive, path+".image", "is set together with from_container, whose image is used; expected only one of them")
	case !image && !from:
		d.refuse(codePair, path, "has neither image nor from_container; expected one of them for the runtime docker: an image, or the name of the app's container")
	case from && d.given(path+".pull"):
		d.refuse(codeElsewhere, path+".pull", "is for image; an existing container has its image")
	}
	for _, f := range []struct {
		name, text, want string
		form             *regexp.Regexp
	}{
		{"image", a.Image, "the name of an image, such as registry.example.com/web:7", imageForm()},
		{"from_container", a.FromContainer, "the name or the ID of a container", containerForm()},
		{"user", a.User, "a user's name or number, perhaps with \":\" and a group", containerUserForm},
	} {
		if at := path + "." + f.name; d.usable(at) && !f.form.MatchString(f.text) {
			d.refuse(codeForm, at, "%s is not possible here; expected %s", quote(f.text), f.want)
		}
	}
}
