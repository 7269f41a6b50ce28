// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"testing"

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
