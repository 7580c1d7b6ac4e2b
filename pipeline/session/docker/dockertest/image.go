package dockertest

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/moby/moby/client"
)

// Image is the image on every [Daemon]: bash and the usual small programs of this host, with the
// users root and app (1000:1000, with the home folder /srv/app). It has an entry point that no
// session may run: it prints "entrypoint" and exits with 99.
const Image = "ttydrain-test:1"

// programs are the programs in the image, as far as this host has them.
var programs = []string{
	"bash", "sh", "cat", "chmod", "cp", "date", "dd", "echo", "env", "false", "grep", "head", "hostname", "id", "kill", "ln", "ls", "mkdir", "mount", "mv",
	"nohup", "od", "ps", "readlink", "rm", "sed", "seq", "setsid", "sha256sum", "sleep", "sort", "stat", "stty", "tail", "tee", "test", "touch", "tr", "true", "tty", "umount",
	"uname", "uniq", "wc", "yes",
}

// importImage creates the image of all daemons.
func (d *Daemon) importImage(t testing.TB) {
	t.Helper()
	if _, err := d.Client.ImageInspect(t.Context(), Image); err == nil {
		return
	}
	d.Import(t, Image, func(f *Files) {
		f.folder(t, "srv/app/data", 0o755, 1000)
		f.File(t, "entrypoint", 0o755, []byte("#!/bin/bash\necho entrypoint\nexit 99\n"))
	}, `ENTRYPOINT ["/entrypoint"]`, `CMD ["no-such-command"]`, "ENV FROM_IMAGE=image", "LABEL image=test", "VOLUME /srv/app/data")
}

// Import creates an image from this host's files, since none can be pulled without a network: from
// the programs of [Image], and from what add adds. changes are Dockerfile instructions.
func (d *Daemon) Import(t testing.TB, name string, add func(*Files), changes ...string) {
	t.Helper()
	var archive bytes.Buffer
	f := &Files{tar.NewWriter(&archive), make(map[string]bool)}
	for _, folder := range []string{"bin", "dev", "etc", "proc", "root", "srv", "srv/app", "sys", "usr", "usr/bin"} {
		f.folder(t, folder, 0o755, 0)
	}
	f.folder(t, "tmp", 0o1777, 0)
	f.File(t, "etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/bash\napp:x:1000:1000:App:/srv/app:/bin/bash\n"))
	f.File(t, "etc/group", 0o644, []byte("root:x:0:\napp:x:1000:\n"))
	for _, name := range programs {
		f.Program(t, name)
	}
	if add != nil {
		add(f)
	}
	if err := f.w.Close(); err != nil {
		t.Fatal(err)
	}
	response, err := d.Client.ImageImport(t.Context(), client.ImageImportSource{Source: &archive, SourceName: "-"}, name, client.ImageImportOptions{Changes: changes})
	if err != nil {
		t.Fatalf("import an image: %v", err)
	}
	defer response.Close()
	if output, err := io.ReadAll(response); err != nil || bytes.Contains(output, []byte(`"error"`)) {
		t.Fatalf("import an image: %v %s", err, output)
	}
}

// Files are the files of an image; each is written once. Names begin without a slash; parent
// folders are created.
type Files struct {
	w    *tar.Writer
	seen map[string]bool
}

// File adds a file.
func (f *Files) File(t testing.TB, name string, mode int64, data []byte) {
	t.Helper()
	if folder := filepath.Dir(name); folder != "." {
		parts := strings.Split(folder, "/")
		for i := range parts {
			f.folder(t, strings.Join(parts[:i+1], "/"), 0o755, 0)
		}
	}
	f.entry(t, &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}, data)
}

func (f *Files) folder(t testing.TB, name string, mode int64, owner int) {
	t.Helper()
	f.entry(t, &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: owner, Gid: owner}, nil)
}

func (f *Files) entry(t testing.TB, h *tar.Header, data []byte) {
	t.Helper()
	if f.seen[h.Name] {
		return
	}
	f.seen[h.Name] = true
	if err := f.w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	if _, err := f.w.Write(data); err != nil {
		t.Fatal(err)
	}
}

// Program adds a program of this host to /bin. If the host does not have it, the test is skipped,
// or fails with TTYDRAIN_REQUIRE_SERVERS=1.
func (f *Files) Program(t testing.TB, name string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		absent(t, "an image for tests: "+name+" is not installed")
	}
	f.Binary(t, "bin/"+name, path)
}

// libraries matches the paths in the output of ldd(1).
var libraries = regexp.MustCompile(`(?m)(?:=> |^\s+)(/\S+) \(`)

// Binary adds the program or library at path on this host under a name, with the libraries that it
// is linked to.
func (f *Files) Binary(t testing.TB, name, path string) {
	t.Helper()
	f.Copy(t, name, path)
	output, err := exec.Command("ldd", path).CombinedOutput()
	if err != nil && !bytes.Contains(output, []byte("not a dynamic executable")) {
		t.Fatalf("ldd %s: %v %s", path, err, output)
	}
	for _, m := range libraries.FindAllSubmatch(output, -1) {
		f.Copy(t, strings.TrimPrefix(string(m[1]), "/"), string(m[1]))
	}
}

// Copy adds the file at path on this host under a name.
func (f *Files) Copy(t testing.TB, name, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("an image for tests: %v", err)
	}
	f.File(t, name, 0o755, data)
}
