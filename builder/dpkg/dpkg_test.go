// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// asChroot and asExtract are the environment variables of processes of this test that are RunChroot and RunExtract.
const (
	asChroot  = "DPKG_TEST_CHROOT"
	asExtract = "DPKG_TEST_EXTRACT"
)

func TestMain(m *testing.M) {
	for variable, run := range map[string]func(Process) int{asChroot: RunChroot, asExtract: RunExtract} {
		if os.Getenv(variable) == "" {
			continue
		}
		if err := os.Unsetenv(variable); err != nil {
			panic(err)
		}
		os.Exit(run(Process{
			Args: os.Args[1:], Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now,
		}))
	}
	os.Exit(m.Run())
}

// scenario is what is compared: calls of dpkg with packages that are files of the directory /debs.
type scenario struct {
	name string
	debs []archivetest.Deb
	// before are shell commands in the root directory; calls are command lines of dpkg.
	before string
	calls  []string
	// left says how many packages the real dpkg must get.
	left int
	// silent is set if this program reports less than dpkg would, as it does less.
	silent bool
}

// recordEnviron is a preinst that writes down what it sees.
const recordEnviron = `#!/bin/sh
{ echo "$0" "$@"; pwd; umask; env | grep -v '^_=' | sort; ls /var/lib/dpkg/tmp.ci; } >/var/tmp/preinst
ls -R /opt /srv >>/var/tmp/preinst 2>&1 || :
`

// recordTriggers is a postinst that writes down what triggered it.
const recordTriggers = `#!/bin/sh
echo "$@" >>/var/tmp/postinst
`

// interested has interests of all kinds.
var interested = archivetest.Deb{Name: "interested", Scripts: map[string]string{
	"postinst": recordTriggers,
	"triggers": "# of a test\ninterest named\ninterest-noawait quiet\n" +
		"  interest-await /opt/await\ninterest-noawait /srv/no\n",
}}

// activating activates them.
var activating = archivetest.Deb{Name: "activating",
	Scripts: map[string]string{"triggers": "activate named\nactivate-noawait quiet\nactivate unknown\n"},
	Files:   []archivetest.File{{Name: "opt/await/file"}, {Name: "srv/no/deep/file"}}}

func file(name, content string) archivetest.File {
	return archivetest.File{Name: name, Content: content}
}

func scenarios() []scenario {
	base := archivetest.Deb{
		Name: "base", Files: []archivetest.File{file("opt/base/file", "base"), file("etc/base.conf", "x")},
		Scripts: map[string]string{"conffiles": "/etc/base.conf\n"},
	}
	newer := base
	newer.Version = "2.0"
	with := func(d archivetest.Deb, change func(d *archivetest.Deb)) archivetest.Deb {
		change(&d)
		return d
	}
	odd := archivetest.Deb{Name: "odd", Files: []archivetest.File{
		{Name: "opt/setuid", Content: "s", Mode: 0o4755}, {Name: "opt/setgid", Content: "s", Mode: 0o2711},
		{Name: "opt/sticky", Typeflag: tar.TypeDir, Mode: 0o1777}, {Name: "opt/closed", Typeflag: tar.TypeDir, Mode: 0o700},
		{Name: "opt/none", Content: "", Mode: 0o400}, {Name: "opt/a b\\c'd\"e\té", Content: "odd"},
		{Name: "opt/" + strings.Repeat("long", 50), Content: "long"},
		{Name: "opt/hard", Typeflag: tar.TypeLink, Linkname: "./opt/setuid", Mode: 0o4755},
		{Name: "opt/link", Linkname: "setuid"}, {Name: "opt/dangling", Linkname: "/nowhere/at all"},
		{Name: "opt/old", Content: "x", ModTime: time.Unix(1, 0)},
	}}
	return []scenario{
		{name: "files of each kind", debs: []archivetest.Deb{odd}, calls: []string{"--unpack odd"}},
		{name: "files of each kind, configured", debs: []archivetest.Deb{odd}, calls: []string{"--install odd"}},
		{name: "checksums of its own", debs: []archivetest.Deb{with(base, func(d *archivetest.Deb) {
			d.Scripts = map[string]string{
				"md5sums": "0123  opt/base/file\n", "shlibs": "lib 1 base\n", "templates": "Template: x\n",
			}
		})}, calls: []string{"--install base"}},
		{name: "configuration file", debs: []archivetest.Deb{base}, calls: []string{"--unpack base", "--configure base"}},
		{name: "configuration file that is there", debs: []archivetest.Deb{base}, before: "echo mine >etc/base.conf",
			calls: []string{"--force-confold --install base"}},
		{name: "configuration file that is a link", debs: []archivetest.Deb{base}, left: 1,
			before: "echo mine >etc/mine; ln -s mine etc/base.conf", calls: []string{"--force-confold --install base"}},
		{name: "configuration file to be removed", debs: []archivetest.Deb{with(base, func(d *archivetest.Deb) {
			d.Scripts = map[string]string{"conffiles": "/etc/base.conf\nremove-on-upgrade /etc/old.conf\n"}
		})}, left: 1, calls: []string{"--install base"}},
		{name: "fields", debs: []archivetest.Deb{{Name: "fields", Essential: true, Version: "2:1.0~rc1-1",
			Provides: "thing (= 1)",
			Fields:   map[string]string{"X-Odd": "1", "Important": "yes", "Homepage": "http://example.org/ "}}},
			calls: []string{"--unpack fields"}},
		{name: "instances of several architectures", debs: []archivetest.Deb{{Name: "same", Fields: map[string]string{
			"Multi-Arch": "same"}, Scripts: map[string]string{"postinst": recordTriggers, "triggers": "interest /opt/x\n"}}},
			calls: []string{"--install same"}},
		{name: "script", debs: []archivetest.Deb{with(base, func(d *archivetest.Deb) {
			d.Scripts = map[string]string{"preinst": recordEnviron, "templates": "Template: x\n"}
		})}, calls: []string{"--force-depends --force-confold,overwrite --install base"}},
		{name: "script that makes the package's files", debs: []archivetest.Deb{with(base, func(d *archivetest.Deb) {
			d.Scripts = map[string]string{"preinst": "#!/bin/sh\nmkdir -p /opt/base\necho other >/opt/base/file\n"}
		})}, calls: []string{"--install base"}},
		{name: "script that fails", debs: []archivetest.Deb{with(base, func(d *archivetest.Deb) {
			d.Scripts = map[string]string{"preinst": "#!/bin/sh\nexit 3\n", "postrm": recordTriggers}
		}), odd}, left: 1, calls: []string{"--install base odd"}},
		{name: "triggers at once", debs: []archivetest.Deb{interested, activating},
			calls: []string{"--install interested", "--install activating"}},
		{name: "triggers while unpacking", debs: []archivetest.Deb{interested, activating},
			calls: []string{"--install interested", "--unpack activating"}},
		{name: "triggers later", debs: []archivetest.Deb{interested, activating},
			calls: []string{"--install interested", "--no-triggers --unpack activating", "--configure -a"}},
		{name: "triggers later, a package is to be removed", debs: []archivetest.Deb{interested, activating},
			before: "printf 'Package: old\nPriority: optional\nSection: other\nStatus: deinstall ok installed\n" +
				"Version: 1\nArchitecture: amd64\nMaintainer: x\nDescription: x\n\n' >>var/lib/dpkg/status && " +
				"touch var/lib/dpkg/info/old.list",
			calls: []string{"--install interested", "--no-triggers --unpack activating", "--configure -a"}},
		{name: "triggers of what is only unpacked", debs: []archivetest.Deb{interested, activating},
			calls: []string{"--unpack interested activating", "--configure -a"}},
		{name: "file of another package", debs: []archivetest.Deb{base, {Name: "thief", Files: base.Files[:1]}}, left: 1,
			calls: []string{"--install base", "--install thief"}},
		{name: "file of another package, replaced", left: 1,
			debs:  []archivetest.Deb{base, {Name: "thief", Replaces: "base", Files: base.Files[:1]}},
			calls: []string{"--install base", "--install thief"}},
		{name: "file of another package, overwritten", debs: []archivetest.Deb{base, {Name: "thief", Files: base.Files[:1]}},
			left: 1, calls: []string{"--install base", "--force-overwrite --install thief"}},
		{name: "file of nobody", debs: []archivetest.Deb{odd}, calls: []string{"--install odd"},
			before: "mkdir opt; echo other >opt/setuid; ln -s x opt/link; ln opt/setuid opt/hard; ln -s y opt/none"},
		{name: "directory in place of a file", debs: []archivetest.Deb{odd}, left: 1, before: "mkdir -p opt/setuid",
			calls: []string{"--install odd"}},
		{name: "link in place of a directory", debs: []archivetest.Deb{odd}, calls: []string{"--install odd"},
			before: "mkdir -p real opt/link; ln -s ../real opt/sticky"},
		{name: "file in place of a directory", debs: []archivetest.Deb{odd}, left: 1, before: "mkdir opt; echo >opt/sticky",
			calls: []string{"--install odd"}},
		{name: "link to the same directory", debs: []archivetest.Deb{{Name: "a", Files: []archivetest.File{
			{Name: "opt/lib", Linkname: "real"}, {Name: "opt/real", Typeflag: tar.TypeDir, Mode: 0o755}}}},
			before: "mkdir -p opt/real; ln -s ./real opt/lib", calls: []string{"--install a"}},
		{name: "diverted file", debs: []archivetest.Deb{base}, left: 1, calls: []string{"--install base"},
			before: "echo '/opt/base/file\n/opt/base/file.orig\nother' >var/lib/dpkg/diversions"},
		{name: "overridden file", debs: []archivetest.Deb{base}, left: 1, calls: []string{"--install base"},
			before: "echo 'root root 4711 /opt/base/file' >var/lib/dpkg/statoverride"},
		{name: "upgrade", debs: []archivetest.Deb{base, with(newer, func(d *archivetest.Deb) { d.Name = "base" })}, left: 1,
			calls: []string{"--install base", "--install base_2.0"}},
		{name: "the same again", debs: []archivetest.Deb{base, odd}, silent: true,
			calls: []string{"--install base", "--unpack base odd", "--configure --pending"}},
		{name: "the same again, with the rest", debs: []archivetest.Deb{base, odd}, left: 1,
			calls: []string{"--install base", "--install base odd"}},
		{name: "the same again, not configured", debs: []archivetest.Deb{base, odd}, left: 1,
			calls: []string{"--unpack base", "--unpack base odd"}},
		{name: "extracted before", debs: []archivetest.Deb{odd}, calls: []string{"--unpack odd"},
			before: "dpkg-deb --fsys-tarfile debs/odd_1.0.deb | tar -x && touch -d @9 opt && echo x >opt/setgid"},
		{name: "extracted before, with other names", debs: []archivetest.Deb{odd}, calls: []string{"--unpack odd"},
			before: "dpkg-deb --fsys-tarfile debs/odd_1.0.deb | tar -x && ln opt/none opt/other && chmod 600 opt/old"},
		{name: "removed before", debs: []archivetest.Deb{base}, left: 1,
			calls: []string{"--install base", "--remove base", "--install base"}},
		{name: "conflict", debs: []archivetest.Deb{base, {Name: "enemy", Conflicts: "base"}}, left: 1,
			calls: []string{"--install base", "--install enemy"}},
		{name: "conflict with another version", debs: []archivetest.Deb{base, {Name: "enemy", Conflicts: "base (<< 1.0)"}},
			calls: []string{"--install base", "--install enemy"}},
		{name: "conflict of the other with another version",
			debs:  []archivetest.Deb{{Name: "enemy", Conflicts: "base (<< 1.0), other"}, base},
			calls: []string{"--install enemy", "--install base"}},
		{name: "conflict with another version of what is provided", debs: []archivetest.Deb{
			{Name: "provider", Provides: "thing, other (= 2)"}, {Name: "enemy", Conflicts: "thing (<< 1.0), other (<< 2)"},
		}, calls: []string{"--install provider", "--install enemy"}},
		{name: "conflict with the version of what is provided", left: 1, debs: []archivetest.Deb{
			{Name: "provider", Provides: "thing (= 1)"}, {Name: "enemy", Conflicts: "thing (<= 1.0)"},
		}, calls: []string{"--install provider", "--install enemy"}},
		{name: "conflict of the other", debs: []archivetest.Deb{{Name: "enemy", Conflicts: "base"}, base}, left: 1,
			calls: []string{"--install enemy", "--install base"}},
		{name: "conflict with what is provided", left: 1, debs: []archivetest.Deb{
			{Name: "provider", Provides: "thing"}, {Name: "enemy", Conflicts: "thing", Replaces: "thing"},
		}, calls: []string{"--install provider", "--install enemy"}},
		{name: "break", debs: []archivetest.Deb{base, {Name: "enemy", Fields: map[string]string{"Breaks": "base (<= 1.0)"}}},
			left: 1, calls: []string{"--install base", "--auto-deconfigure --install enemy"}},
		{name: "pre-dependency", debs: []archivetest.Deb{base, {Name: "later", PreDepends: "none | base (>= 1.0)"}},
			calls: []string{"--install base", "--install later"}},
		{name: "pre-dependency that is not configured", left: 1,
			debs:  []archivetest.Deb{base, {Name: "later", PreDepends: "base"}},
			calls: []string{"--unpack base later"}},
		{name: "pre-dependency by force", debs: []archivetest.Deb{{Name: "later", PreDepends: "none"}},
			calls: []string{"--force-depends --install later"}},
		{name: "dependency that is not there", debs: []archivetest.Deb{{Name: "later", Depends: "none"}, odd},
			calls: []string{"--install later odd"}},
		{name: "foreign architecture", left: 1, calls: []string{"--install base"},
			debs: []archivetest.Deb{with(base, func(d *archivetest.Deb) { d.Architecture = "s390x" })}},
		{name: "all architectures", debs: []archivetest.Deb{with(base, func(d *archivetest.Deb) { d.Architecture = "all" })},
			calls: []string{"--install base"}},
		{name: "selected before", debs: []archivetest.Deb{base}, calls: []string{"--install base"},
			before: "printf 'Package: base\nPriority: required\nSection: other\nStatus: install ok not-installed\n\n'" +
				" >>var/lib/dpkg/status"},
		{name: "compressions", debs: []archivetest.Deb{
			with(base, func(d *archivetest.Deb) { d.Compression = ".xz" }),
			with(odd, func(d *archivetest.Deb) { d.Compression = ".none" }),
		}, calls: []string{"--install base odd"}},
		{name: "damaged package", debs: []archivetest.Deb{base, odd}, before: "truncate -s 300 debs/base_1.0.deb", left: 1,
			calls: []string{"--unpack base odd"}},
		{name: "no such package", debs: []archivetest.Deb{odd}, left: -1, calls: []string{"--unpack none odd"}},
		{name: "configuration of dpkg", debs: []archivetest.Deb{odd}, left: -1,
			before: "echo path-exclude=/opt/link >etc/dpkg/dpkg.cfg.d/other", calls: []string{"--install odd"}},
		{name: "directories", debs: []archivetest.Deb{base, odd}, calls: []string{"--recursive --install /debs"}},
		{name: "other calls", debs: []archivetest.Deb{base}, left: -1,
			calls: []string{"--unpack --no-act base", "-i base", "-l"}},
	}
}

// TestSameAsDpkg compares what this program and the real dpkg leave behind.
func TestSameAsDpkg(t *testing.T) {
	diskimagetest.Tool(t, "dpkg")
	top, inside := diskimagetest.InNamespace(t)
	if !inside {
		return
	}
	for i, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			dir := filepath.Join(top, fmt.Sprint(i))
			want, _ := s.run(t, dir+".want", "")
			got, left := s.run(t, dir+".got", asChroot+"=1")
			if s.silent {
				for _, reports := range []string{"status-fd", "var/log/dpkg.log"} {
					delete(want, reports)
					delete(got, reports)
				}
			}
			compare(t, got, want)
			if left != s.left {
				t.Errorf("%d packages were left to dpkg, want %d", left, s.left)
			}
		})
	}
}

// run carries the scenario out in a new root directory, and returns what is there afterwards. environ makes this
// program the dpkg.
func (s scenario) run(t *testing.T, root, environ string) (after map[string]string, left int) {
	t.Helper()
	s.prepare(t, root)
	var statuses, output strings.Builder
	ours := false
	for _, call := range s.calls {
		args := []string{"chroot", root, "dpkg", "--status-fd", "3"}
		for word := range strings.FieldsSeq(call) {
			// Names of packages are those of their files.
			for _, d := range []string{word, word + "_1.0"} {
				if _, err := os.Stat(filepath.Join(root, "debs", d+".deb")); err == nil && strings.Contains(call, "-i") ||
					err == nil && (strings.Contains(call, "--install") || strings.Contains(call, "--unpack")) {
					word = "/debs/" + d + ".deb"
				}
			}
			args = append(args, word)
		}
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		if environ != "" {
			cmd = exec.CommandContext(t.Context(), os.Args[0], args[1:]...)
		}
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/root", "ODD=a b", environ}
		status, err := os.OpenFile(root+".status", os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		cmd.ExtraFiles = []*os.File{status}
		out, err := cmd.CombinedOutput()
		if err := status.Close(); err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		fmt.Fprintf(&statuses, "%s: %v\n", call, err)
		fmt.Fprintf(&output, "%s\n%s", call, out)
		left += bytes.Count(out, []byte("left to dpkg"))
		ours = ours || bytes.Contains(out, []byte("left to dpkg")) ||
			bytes.Contains(out, []byte("Unpacking")) && !bytes.Contains(out, []byte("(Reading database"))
	}
	if left == 0 && !ours {
		left = -1 // the real dpkg did it all
	}
	// The real dpkg writes its files in its own order.
	normalize := exec.CommandContext(t.Context(), "chroot", root, "dpkg", "--set-selections")
	if out, err := normalize.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, output.String())
	}
	after = tree(t, root)
	after["exit status"] = statuses.String()
	text, err := os.ReadFile(root + ".status")
	if err != nil {
		t.Fatal(err)
	}
	after["status-fd"] = withoutRepeats(string(text))
	if at := strings.LastIndex(output.String(), "Errors were encountered"); at >= 0 {
		after["last words"] = output.String()[at:]
	}
	if t.Failed() || testing.Verbose() {
		t.Log(output.String())
	}
	return after, left
}

// prepare makes a root directory with the host's programs and an empty database.
func (s scenario) prepare(t *testing.T, root string) {
	t.Helper()
	for _, dir := range []string{"usr", "etc/dpkg/dpkg.cfg.d", "var/lib/dpkg/info", "var/lib/dpkg/updates",
		"var/lib/dpkg/triggers", "var/tmp", "var/log", "debs", "dev", "proc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("/usr", filepath.Join(root, "usr"), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+dir, filepath.Join(root, dir)); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n", "dev/null": "",
		"etc/dpkg/dpkg.cfg":        "# a comment\nno-debsig\nlog /var/log/dpkg.log\n",
		"var/lib/dpkg/info/format": "1\n", "var/lib/dpkg/available": "",
		"var/lib/dpkg/info/dpkg.list": "/.\n",
		"var/lib/dpkg/status": "Package: dpkg\nStatus: install ok installed\nMaintainer: m\nArchitecture: amd64\n" +
			"Version: 1.0\nDescription: d\n\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range s.debs {
		data, err := d.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		version := "1.0"
		if d.Version == "2.0" {
			version = d.Version
		}
		name := filepath.Join(root, "debs", d.Name+"_"+version+".deb")
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sh := exec.CommandContext(t.Context(), "sh", "-ec", s.before)
	sh.Dir = root
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// notCompared are files that differ between two runs of the real dpkg too, or that it keeps for itself.
var notCompared = regexp.MustCompile(`^var/lib/dpkg/(lock|status-old|available-old|triggers/Lock)$`)

// times are those in dpkg's log.
var times = regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d `)

// withoutRepeats removes what differs in dpkg's reports if several runs do the work of one: the begin of each, the
// state of a package that is the same already, the version that is to be configured, and when triggers are noted.
func withoutRepeats(text string) string {
	var lines []string
	states := map[string]string{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch words[0] {
		case "startup":
			continue
		case "install", "processing:":
			if slices.Contains(lines, line) {
				continue
			}
		case "configure":
			line = strings.Join(words[:len(words)-1], " ") + "\n"
		case "status", "status:":
			pkg, state := words[1], words[2]
			if words[0] == "status" {
				pkg, state = words[2], words[1]
			}
			if states[pkg] == state || state == "triggers-pending" {
				continue
			}
			states[pkg] = state
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}

// tree describes each file of a root directory.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if rel == "usr" || rel == "debs" {
			return fs.SkipDir
		}
		if notCompared.MatchString(rel) {
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return err
		}
		text := fmt.Sprintf("%o %d:%d, %d names", st.Mode, st.Uid, st.Gid, st.Nlink)
		if modified := time.Unix(st.Mtim.Unix()); time.Since(modified) > time.Hour {
			text += ", of " + modified.UTC().String()
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			if rel == "var/log/dpkg.log" {
				content = []byte(withoutRepeats(times.ReplaceAllString(string(content), "")))
			}
			text += "\n" + string(content)
		case unix.S_IFLNK:
			target, err := os.Readlink(name)
			if err != nil {
				return err
			}
			text += " to " + target
		}
		all[rel] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// compare reports differences.
func compare(t *testing.T, got, want map[string]string) {
	t.Helper()
	var names []string
	for name := range want {
		names = append(names, name)
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if got[name] != want[name] {
			t.Errorf("%s is\n%s\nwant\n%s", name, got[name], want[name])
		}
	}
}
