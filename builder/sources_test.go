// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

func TestAptSourcesByRelease(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, suite, codename string
		aptMirror             string
		file, want            string
	}{
		{
			"old release, one-line form", "bullseye", "bullseye", "http://mirror.example/debian/",
			"base.list", "deb http://mirror.example/debian bullseye main\n#deb-src http://mirror.example/debian bullseye main\n" +
				"deb http://mirror.example/debian bullseye-updates main\n#deb-src http://mirror.example/debian bullseye-updates main\n" +
				"deb http://security.debian.org/debian-security bullseye-security main\n" +
				"#deb-src http://security.debian.org/debian-security bullseye-security main\n",
		},
		{
			"stanzas from trixie on, of a mirror without the codename", "stable", "trixie", "",
			"base.sources", "Types: deb\nURIs: http://build.example/debian\nSuites: stable stable-updates\nComponents: main\n" +
				"Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n" +
				"Types: deb\nURIs: http://security.debian.org/debian-security\nSuites: stable-security\nComponents: main\n" +
				"Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
		},
		{
			"sid has no updates", "sid", "sid", "",
			"base.sources", "Types: deb\nURIs: http://build.example/debian\nSuites: sid\nComponents: main\n" +
				"Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
		},
		{
			"buster's security suite has an old name", "buster", "buster", "",
			"base.list", "deb http://build.example/debian buster main\n#deb-src http://build.example/debian buster main\n" +
				"deb http://build.example/debian buster-updates main\n#deb-src http://build.example/debian buster-updates main\n" +
				"deb http://security.debian.org/debian-security buster/updates main\n" +
				"#deb-src http://security.debian.org/debian-security buster/updates main\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			release, ok := debian.LookupRelease(tt.codename)
			if !ok {
				t.Fatalf("no release %s", tt.codename)
			}
			s := Spec{o: DefaultOptions(), release: release}
			s.o.Mirror, s.o.AptMirror = secret.NewURL("http://build.example/debian"), secret.NewURL(tt.aptMirror)
			f := targettest.New(t,
				map[string]string{"/etc/apt/sources.list": "deb http://build.example/debian x main\n"})
			if err := runStep(t, f, newAptSourcesStep(s, tt.suite)); err != nil {
				t.Fatal(err)
			}
			if got := f.Readable("/etc/apt/sources.list"); got != "(absent)" {
				t.Errorf("debootstrap's sources.list is still there: %q", got)
			}
			got := f.Readable("/etc/apt/sources.list.d/" + tt.file)
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.aptMirror != "" && strings.Contains(got, "build.example") {
				t.Error("the mirror of the build is in the image")
			}
			if len(f.Transcript) > 0 {
				t.Errorf("ran %q: the archive need not be there", f.Transcript)
			}
		})
	}
}

func TestInittabGetsTheSerialConsole(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/etc/inittab": "id:2:initdefault:\n"})
	if err := runStep(t, f, step.Inittab{Command: "/sbin/getty -L ttyS0 115200 vt100"}); err != nil {
		t.Fatal(err)
	}
	want := "id:2:initdefault:\n\nS0:23:respawn:/sbin/getty -L ttyS0 115200 vt100\n"
	if got := f.Readable("/etc/inittab"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCustomPackagesAreFilesToApt(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, map[string]string{"/usr/sbin/": ""})
	if err := runStep(t, f, step.CustomPackages{Files: []string{"/inputs/0", "/inputs/1"},
		Names: []string{"x_1.deb", "x_1.deb"}}); err != nil {
		t.Fatal(err)
	}
	if len(f.Transcript) != 1 ||
		!strings.HasSuffix(f.Transcript[0], " /run/custom-packages/0/x_1.deb /run/custom-packages/1/x_1.deb") {
		t.Errorf("ran %q", f.Transcript)
	}
}

func TestPackageListIsSortedAndClean(t *testing.T) {
	t.Parallel()
	f := targettest.New(t, nil)
	f.On = func(args []string, out io.Writer) error {
		_, err := io.WriteString(out, "zlib1g\nbase-files\nlibc6\nlibc6\n")
		return err
	}
	dir := t.TempDir()
	r := &Result{Rootfs: f, x: &Executor{Dir: dir}, site: &step.Context{}}
	if err := r.WritePackageList(t.Context()); err != nil {
		t.Fatal(err)
	}
	host := &targettest.Target{Dir: dir}
	if got, want := host.Readable(packageList), "base-files\nlibc6\nzlib1g\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if left, _ := filepath.Glob(dir + "/*"); !slices.Equal(left, []string{filepath.Join(dir, packageList)}) {
		t.Errorf("files %q", left)
	}
}

// Issue 14, 4: a machine whose sources say stable moves to the next release one day.
func TestAptSourcesHaveTheCodename(t *testing.T) {
	t.Parallel()
	spec := mustSpec(t, func(o *Options) { o.ConfigureApt = true })
	for suite, want := range map[string]string{"trixie": "trixie", "": "stable"} {
		plan, err := NewPlan(spec, Lock{Suite: suite, Codename: "trixie"})
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(plan.Steps, func(s Step) bool { return s.Kind() == step.AptSources{}.Kind() })
		if i < 0 {
			t.Fatal("no sources are written")
		}
		if s := plan.Steps[i].(step.AptSources); s.Entries[0].Suite != want {
			t.Errorf("the lock has %q: the sources have %+v, want %s", suite, s.Entries, want)
		}
	}
}
