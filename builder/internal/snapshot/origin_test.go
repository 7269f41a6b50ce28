// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot/snapshottest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// originsFrom returns those of images of some remotes.
func originsFrom(remotes ...string) origins {
	var o origins
	for _, remote := range remotes {
		o = o.with(origin{Remote: remote, Image: HashOf(remote)})
	}
	return o
}

func TestOriginsDecideWhoUsesSnapshot(t *testing.T) {
	t.Parallel()
	const own = StepPrefix + "abc"
	remote := func(text string) Remote {
		r, err := ParseRemote(text)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	e := &snapshottest.Engine{}
	add := func(o origins) {
		name, labels := o.mark(own,
			map[string]string{labelLayers: strings.Join([]string{"L", string(HashOf(own))}, " ")})
		e.All = append(e.All, types.Snapshot{Name: name, Labels: labels})
	}
	one, both := originsFrom("oci:/work/one"), originsFrom("oci:/work/one", "docker://r.example/two")
	add(both)
	add(one)
	open := one.with()
	open[0].NoTLS = true
	add(open)
	add(nil)
	// content that does not match the name
	e.All = append(e.All,
		types.Snapshot{Name: own + originsSeparator + "0123", Labels: map[string]string{labelOrigins: "[]"}})
	for _, tt := range []struct {
		from    []string
		skipTLS bool
		want    []int // how many origins each has, in order
	}{
		{nil, false, []int{0}},
		{[]string{"oci:/work/other"}, false, []int{0}},
		{[]string{"oci:one"}, false, []int{0, 1}}, // relative to the working directory
		{[]string{"oci:/work/one"}, true, []int{0, 1, 1}},
		{[]string{"docker://r.example/two"}, false, []int{0}},
		{[]string{"docker://r.example/two", "oci:/work/one"}, false, []int{0, 1, 2}},
	} {
		store := New(Config{
			Engine: e, Dir: "/work", Log: slog.New(slog.DiscardHandler), Settings: Settings{SkipTLSVerify: tt.skipTLS},
		})
		for _, text := range tt.from {
			store.Settings.From = append(store.Settings.From, remote(text))
		}
		var told []string
		store.Settings.Explain = func(text string) { told = append(told, text) }
		var got []int
		for range 2 {
			here, err := store.local(own, "the step")
			if err != nil {
				t.Fatal(err)
			}
			got = nil
			for _, s := range here {
				got = append(got, len(s.origins))
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q: got %v, want %v", tt.from, got, tt.want)
		}
		slices.Sort(told)
		if len(told) == 0 || !strings.HasPrefix(told[0], "not used: the step: ") ||
			len(slices.Compact(slices.Clone(told))) != len(told) {
			t.Errorf("%q: reported as not used: %q", tt.from, told)
		}
	}
}

func TestTitleNamesOrigins(t *testing.T) {
	t.Parallel()
	name, labels := originsFrom("oci:/one", "oci:/two").mark(NamePrefix+"made:1",
		map[string]string{labelTitle: "make the initramfs"})
	const want = "make the initramfs, from oci:/one and oci:/two"
	if got := Title(types.Snapshot{Name: name, Labels: labels}); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if localName(name) != NamePrefix+"made:1" {
		t.Errorf("the local name of %s is %s", name, localName(name))
	}
	// A name with the digest of another remote is invalid.
	labels[labelOrigins] = "[]"
	if o, err := originsOf(name, labels); err == nil {
		t.Errorf("other origins than the name's: %v", o)
	}
}

// What programs of a target from a remote write is not more trustworthy than the target.
func TestInitramfsHasOriginsOfTarget(t *testing.T) {
	t.Parallel()
	e := &outputEngine{t: t, kept: map[string]*targettest.Target{}}
	from := Remote{"oci", "/one"}
	trusts, others := initramfsChain(t, e), initramfsChain(t, e)
	trusts.store.Settings.From = []Remote{from}
	if ran, _ := makeInitramfsOf(t, initramfsTarget(t), trusts, originsFrom("oci:/one")); !ran {
		t.Fatal("it did not run the first time")
	}
	if ran, why := makeInitramfsOf(t, initramfsTarget(t), trusts, nil); ran {
		t.Errorf("a build that trusts the remote makes it again: %s", why)
	}
	if ran, _ := makeInitramfsOf(t, initramfsTarget(t), others, nil); !ran {
		t.Error("a build that does not trust the remote takes it")
	}
}
