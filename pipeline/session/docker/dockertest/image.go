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

// Image is the image that is on every [Daemon]: a bash and the usual small programs of this host,
// with the users root and app (1000:1000, whose home is /srv/app). It has an entry point that no
// session may run: it says "entrypoint" and ends with 99.
const Image = "ttydrain-test:1"

// programs are what is in the image, where this host has it.
var programs = []string{
	"bash", "sh", "cat", "chmod", "cp", "date", "dd", "echo", "env", "false", "grep", "head", "hostname", "id", "kill", "ln", "ls", "mkdir", "mount", "mv",
	"nohup", "od", "ps", "readlink", "rm", "sed", "seq", "setsid", "sha256sum", "sleep", "sort", "stat", "stty", "tail", "tee", "test", "touch", "tr", "true", "tty", "umount",
	"uname", "uniq", "wc", "yes",
}

// importImage makes the image of all daemons.
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

// Import makes an image of this host's own files, since none can be pulled from a registry where
// there is no network: of the programs that are in [Image] too, and of what add adds. changes are
// instructions of a Dockerfile.
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
	answer, err := d.Client.ImageImport(t.Context(), client.ImageImportSource{Source: &archive, SourceName: "-"}, name, client.ImageImportOptions{Changes: changes})
	if err != nil {
		t.Fatalf("import an image: %v", err)
	}
	defer answer.Close()
	if said, err := io.ReadAll(answer); err != nil || bytes.Contains(said, []byte(`"error"`)) {
		t.Fatalf("import an image: %v %s", err, said)
	}
}

// Files are those of an image, each of which is written once. Names begin without a slash; folders
// on the way to them are made.
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

// Program adds a program of this host in /bin, by its name. Where the host lacks it, the test is
// skipped, or fails with TTYDRAIN_REQUIRE_SERVERS=1.
func (f *Files) Program(t testing.TB, name string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		absent(t, "an image for tests: "+name+" is not installed")
	}
	f.Binary(t, "bin/"+name, path)
}

// libraries finds the paths in what ldd(1) prints.
var libraries = regexp.MustCompile(`(?m)(?:=> |^\s+)(/\S+) \(`)

// Binary adds a program or library of this host's, at path, under a name, with the libraries that
// it is linked to.
func (f *Files) Binary(t testing.TB, name, path string) {
	t.Helper()
	f.Copy(t, name, path)
	said, err := exec.Command("ldd", path).CombinedOutput()
	if err != nil && !bytes.Contains(said, []byte("not a dynamic executable")) {
		t.Fatalf("ldd %s: %v %s", path, err, said)
	}
	for _, m := range libraries.FindAllSubmatch(said, -1) {
		f.Copy(t, strings.TrimPrefix(string(m[1]), "/"), string(m[1]))
	}
}

// Copy adds a file of this host's, at path, under a name.
func (f *Files) Copy(t testing.TB, name, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("an image for tests: %v", err)
	}
	f.File(t, name, 0o755, data)
}
