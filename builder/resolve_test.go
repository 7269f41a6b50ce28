// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// Tools of a newer release are taken only where the older ones would lose something.
func TestToolboxIsOfTheFirstFaithfulRelease(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		suite, roottype, image string
		fromTarget             bool
		want                   string
	}{
		{"trixie", "ext4", "/out/x.img", true, "trixie"},
		{"bookworm", "erofs", "/out/x.img", true, "trixie"},
		{"bookworm", "xfs", "/out/x.img", false, "forky"},
		{"sid", "xfs", "/out/x.img", true, "forky"},
		{"bookworm", "xfs", "", true, "trixie"},
		{"buster", "xfs", "/out/x.img", false, "forky"},
		{"buster", "ext4", "/out/x.img", false, "trixie"},
	} {
		s := testSpec(t, func(o *Options) {
			o.Distribution, o.Roottype, o.Image, o.Bootsize = tt.suite, tt.roottype, tt.image, 256*diskimage.MiB
			if tt.image == "" {
				o.Tarball = "/out/x.tar"
			}
		})
		if s.toolsFromTarget() != tt.fromTarget || s.toolboxSuite() != tt.want {
			t.Errorf("%+v: got %v, %s", tt, s.toolsFromTarget(), s.toolboxSuite())
		}
	}
}

// A mirror of Ubuntu's archive has neither ended releases nor ports, though its Release files name the latter.
func TestAbsentSuiteOfUbuntuNamesItsArchive(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ suite, has, arch, want string }{
		{"questing", "noble", "amd64", ubuntuOldMirror.Reveal()},
		{"noble", "noble", "riscv64", ubuntuPortsMirror.Reveal()},
		{"noble", "jammy", "amd64", ubuntuMirror.Reveal()},
		{"trixie", "bookworm", "amd64", ""},
	} {
		repo := archivetest.NewRepository(t, tt.has)
		spec := testSpec(t, func(o *Options) {
			o.Distribution, o.Mirror, o.Arch = tt.suite, secret.NewURL(repo.URL()), tt.arch
		})
		_, _, err := Resolve(t.Context(), spec, archiveClient(t, repo), testLock())
		absent, ok := errors.AsType[*AbsentError](err)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || ok != (tt.want != "") || ok && absent.Mirror != tt.want {
			t.Errorf("%s for %s: got %v, want an error that names %q", tt.suite, tt.arch, err, tt.want)
		}
	}
}
