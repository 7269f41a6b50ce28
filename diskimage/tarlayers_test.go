// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

func dirMember(name string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}
}
func fileMember(name string) tar.Header { return tar.Header{Name: name, Size: int64(len(name))} }
func linkMember(name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to}
}
func symlinkMember(name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
}

func layerTree(t *testing.T, layers ...[]tar.Header) (Tree, error) {
	t.Helper()
	var all []Layer
	for _, members := range layers {
		data := pack(t, members...)
		all = append(all, Layer{bytes.NewReader(data), int64(len(data))})
	}
	return NewLayerTree(all...)
}

func TestLayersAreSeenAsAContainerSeesThem(t *testing.T) {
	t.Parallel()
	type layer = []tar.Header
	for _, tt := range []struct {
		name   string
		layers []layer
		want   string
	}{
		{"another file", []layer{{fileMember("a")}, {fileMember("b")}}, ". a b"},
		{"a whiteout", []layer{{dirMember("d/"), fileMember("d/a"), fileMember("d/b")}, {fileMember("d/.wh.a")}},
			". d d/b"},
		{"a whiteout of a directory",
			[]layer{{dirMember("d/"), dirMember("d/e/"), fileMember("d/e/f"), fileMember("d/ee")},
				{fileMember("d/.wh.e")}}, ". d d/ee"},
		{"a whiteout and a new file, in either order", []layer{
			{fileMember("a"), fileMember("b")}, {fileMember(".wh.a"), fileMember("a"), fileMember("b"),
				fileMember(".wh.b")},
		}, ". a b"},
		{"a directory made anew", []layer{
			{dirMember("d/"), fileMember("d/old")}, {fileMember("d/new"), fileMember(".wh.d"), dirMember("d/")},
		}, ". d d/new"},
		{"an opaque directory", []layer{
			{dirMember("d/"), fileMember("d/old"), dirMember("d/e/"), fileMember("d/e/old")},
			{dirMember("d/"), fileMember("d/new"), fileMember("d/.wh..wh..opq"), dirMember("d/e/"),
				fileMember("d/e/new")},
		}, ". d d/e d/e/new d/new"},
		{"all is opaque", []layer{{fileMember("a")}, {fileMember(".wh..wh..opq"), fileMember("b")}}, ". b"},
		{"a whiteout two layers up",
			[]layer{{fileMember("a")}, {fileMember("b")}, {fileMember(".wh.a"), fileMember(".wh.b")},
				{fileMember("a")}}, ". a"},
		{"a file over a directory", []layer{{dirMember("d/"), fileMember("d/a")}, {fileMember("d")}}, ". d"},
		{"a link over a directory", []layer{{dirMember("lib/"), fileMember("lib/a")},
			{dirMember("usr/"), symlinkMember("lib", "usr")}}, ". lib usr"},
		{"a directory over a link", []layer{{symlinkMember("d", "/etc")}, {dirMember("d/"), fileMember("d/a")}},
			". d d/a"},
		{"a directory over a directory",
			[]layer{{dirMember("d/"), fileMember("d/a")}, {dirMember("d/"), fileMember("d/b")}},
			". d d/a d/b"},
		{"AUFS", []layer{{fileMember("a")}, {fileMember(".wh..wh.plnk"), fileMember(".wh..wh.aufs")}}, ". a"},
		{"a whiteout of nothing", []layer{{fileMember("a")}, {fileMember(".wh.b"), fileMember("d/.wh.x")}}, ". a"},
		{"a hard link to a layer below", []layer{{fileMember("a")}, {linkMember("b", "a")}}, ". a b=a"},
		{"a hard link to what goes",
			[]layer{{fileMember("b"), fileMember("c")}, {linkMember("a", "b"), fileMember(".wh.b")}},
			". a c"},
		{"one name of a file goes", []layer{{fileMember("a"), linkMember("b", "a"), linkMember("c", "a")},
			{fileMember(".wh.a")}}, ". b c=b"},
		{"one name of a file is replaced", []layer{{fileMember("a"), linkMember("b", "a")}, {fileMember("a")}},
			". a b"},
	} {
		tree, err := layerTree(t, tt.layers...)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for _, e := range list(t, tree) {
			text := e.Name
			if e.HardLink != "" {
				text += "=" + e.HardLink
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// The content is that of the layer that a name came from, whatever other layers have at the same place.
func TestLayersReadTheirOwnArchive(t *testing.T) {
	t.Parallel()
	tree, err := layerTree(t, []tar.Header{fileMember("a"), fileMember("b")},
		[]tar.Header{fileMember("second"), linkMember("again", "b")})
	if err != nil {
		t.Fatal(err)
	}
	x, err := NewIndex(tree)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "a", "b": "b", "second": "second", "again": "b"} {
		if got, err := x.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestLayerTreeRejectsHostileLayers(t *testing.T) {
	t.Parallel()
	type layer = []tar.Header
	for want, layers := range map[string][]layer{
		`layer 2: member "../x"`:                                  {{fileMember("a")}, {fileMember("../x")}},
		`layer 2: member "d/../../.wh.x"`:                         {{fileMember("a")}, {fileMember("d/../../.wh.x")}},
		`layer 1: member ".wh..": the whiteout has no file name`:  {{fileMember(".wh..")}},
		`layer 1: member ".wh...": the whiteout has no file name`: {{fileMember(".wh...")}},
		`member "lib/x": "lib" is not a directory`:                {{fileMember("lib")}, {fileMember("lib/x")}},
		`layer 2: member "lib/": it replaces the link to usr/lib by a directory`: {{symlinkMember("lib", "usr/lib")},
			{{Name: "lib/", Typeflag: tar.TypeDir}, fileMember("lib/x")}},
		`layer 3: member "b": hard link to "a", which is not`: {{fileMember("a")}, {fileMember(".wh.a")},
			{linkMember("b", "a")}},
	} {
		_, err := layerTree(t, layers...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

// Not all programs write an end to layers; the digest proves that a layer is complete.
func TestLayersMayLackTheirEnd(t *testing.T) {
	t.Parallel()
	whole := pack(t, fileMember("a"))
	cut := whole[:len(whole)-1024]
	if tree, err := NewLayerTree(Layer{bytes.NewReader(cut), int64(len(cut))}); err != nil || len(list(t, tree)) != 2 {
		t.Errorf("got %v", err)
	}
	if _, err := NewLayerTree(Layer{bytes.NewReader(whole), 700}); err == nil ||
		!strings.Contains(err.Error(), `layer 1: byte 1024, after member "a": archive ends`) {
		t.Errorf("cut in a member: got %v", err)
	}
	if _, err := NewTarTree(bytes.NewReader(cut), int64(len(cut))); err == nil ||
		!strings.Contains(err.Error(), `after member "a"`) {
		t.Errorf("as a tarball: got %v", err)
	}
}

// TestLayersHoldManyWhiteouts reaches the timeout of go test if each whiteout is compared with
// every name.
func TestLayersHoldManyWhiteouts(t *testing.T) {
	t.Parallel()
	const files = 100_000
	var lower, upper bytes.Buffer
	for w, format := range map[io.Writer]string{&lower: "d%d/f%d", &upper: "d%d/.wh.f%d"} {
		archive := tar.NewWriter(w)
		for i := range files {
			if err := archive.WriteHeader(&tar.Header{Name: fmt.Sprintf(format, i%100, i), Typeflag: tar.TypeReg,
				Mode: 0o644}); err != nil {
				t.Fatal(err)
			}
		}
		if err := archive.Close(); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := NewLayerTree(Layer{bytes.NewReader(lower.Bytes()), int64(lower.Len())},
		Layer{bytes.NewReader(upper.Bytes()), int64(upper.Len())},
		Layer{bytes.NewReader(lower.Bytes()), int64(lower.Len())})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(list(t, tree)); got != files+101 {
		t.Errorf("got %d names", got)
	}
}
