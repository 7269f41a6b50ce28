// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"io/fs"
	"maps"
	"testing"
	"testing/fstest"
)

func TestReadOSReleasePrefersEtc(t *testing.T) {
	t.Parallel()
	etc := &fstest.MapFile{Data: []byte("# ID=other\n#ID=other\n\nID=debian\nVERSION_ID=\"13\"\nNAME='Debian'\nno field\n")}
	usr := &fstest.MapFile{Data: []byte("ID=ubuntu\n")}
	for _, tt := range []struct {
		name  string
		files fstest.MapFS
		want  map[string]string
	}{
		{"both files", fstest.MapFS{"etc/os-release": etc, "usr/lib/os-release": usr},
			map[string]string{"ID": "debian", "VERSION_ID": "13", "NAME": "Debian"}},
		{"only below usr", fstest.MapFS{"usr/lib/os-release": usr}, map[string]string{"ID": "ubuntu"}},
		{"no file", fstest.MapFS{}, nil},
	} {
		got, ok := ReadOSRelease(func(name string) ([]byte, error) { return fs.ReadFile(tt.files, name) })
		if !maps.Equal(got, tt.want) || ok != (tt.want != nil) {
			t.Errorf("%s: got %q, %v, want %q", tt.name, got, ok, tt.want)
		}
	}
}
