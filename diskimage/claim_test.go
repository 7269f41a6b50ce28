package diskimage

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestBlobsKeepOffEverythingElse(t *testing.T) {
	t.Parallel()
	msdos, gpt := twoPartitions(t, MSDOS), twoPartitions(t, GPT)
	gpt4k := layout(t, Request{Size: 10 * MiB, Table: GPT, SectorSize: SectorSize4K, Partitions: []PartitionRequest{{Role: RoleRoot}}})
	for _, test := range []struct {
		name   string
		layout Layout
		claims []Claim
		want   string
	}{
		{"the gap", msdos, []Claim{{Extent{512, int64(MiB) - 512}, "blob"}}, ""},
		{"boot code", msdos, []Claim{{Extent{0, 440}, "blob"}}, ""},
		{"next to each other", msdos, []Claim{{Extent{512, 512}, "a"}, {Extent{1024, 512}, "b"}, {Extent{0, 440}, "c"}}, ""},
		{"behind the partitions", layout(t, Request{Size: 10*MiB + 512, Table: MSDOS, Partitions: []PartitionRequest{{Role: RoleRoot}}}),
			[]Claim{{Extent{int64(10 * MiB), 512}, "blob"}}, ""},
		{"behind a GPT", gpt, []Claim{{Extent{34 * 512, 100}, "blob"}}, ""},
		{"behind a GPT of large sectors", gpt4k, []Claim{{Extent{24 << 10, 100}, "blob"}, {Extent{512, 3584}, "also"}}, ""},

		{"disk signature", msdos, []Claim{{Extent{0, 441}, "blob"}}, "blob (bytes 0 to 440) would overwrite the partition table (bytes 440 to 511)"},
		{"entries", msdos, []Claim{{Extent{500, 1}, "blob"}}, "would overwrite the partition table (bytes 440 to 511)"},
		{"GPT", gpt, []Claim{{Extent{34*512 - 1, 100}, "blob"}}, "would overwrite the partition table (bytes 512 to 17407)"},
		{"GPT of large sectors", gpt4k, []Claim{{Extent{24<<10 - 1, 1}, "blob"}}, "would overwrite the partition table (bytes 4096 to 24575)"},
		{"backup GPT", gpt, []Claim{{Extent{int64(10*MiB) - 33*512, 1}, "blob"}}, "would overwrite the partition table"},
		{"partition", msdos, []Claim{{Extent{512, int64(MiB)}, "blob"}}, "partition 1 (esp) (bytes 1048576 to 3145727) and blob (bytes 512 to 1049087) overlap"},
		{"both partitions", msdos, []Claim{{Extent{512, int64(4 * MiB)}, "blob"}}, "partition 2 (root)"},
		{"each other", msdos, []Claim{{Extent{512, 513}, "a"}, {Extent{1024, 512}, "b"}}, "a (bytes 512 to 1024) and b (bytes 1024 to 1535) overlap"},
		{"end of the disk", msdos, []Claim{{Extent{int64(10*MiB) - 1, 2}, "blob"}}, "blob (2 bytes at offset 10485759) does not fit on a disk of 10485760 bytes"},
		{"end of numbers", msdos, []Claim{{Extent{math.MaxInt64, math.MaxInt64}, "blob"}}, "does not fit"},
	} {
		err := test.layout.CheckFree(test.claims)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
		image := Image{Layout: test.layout}
		for _, c := range test.claims {
			if c.Length < int64(test.layout.Size) {
				image.Blobs = append(image.Blobs, Patch{Offset: c.Offset, Data: make([]byte, c.Length), What: c.What})
			}
		}
		if len(image.Blobs) < len(test.claims) {
			continue
		}
		w := make(memoryFile, test.layout.Size)
		if err := image.Write(t.Context(), w); (err == nil) != (test.want == "") {
			t.Errorf("%s: an image with it: %v", test.name, err)
		}
	}
}

func TestBlobsAndPatchesKeepOffEachOther(t *testing.T) {
	t.Parallel()
	l := twoPartitions(t, MSDOS)
	w := make(memoryFile, l.Size)
	image := Image{
		Layout: l, Blobs: []Patch{{8192, []byte("firmware"), "spl.bin"}}, Patches: []Patch{{512, make([]byte, 7681), "GRUB core.img"}},
	}
	const want = "spl.bin (bytes 8192 to 8199) and GRUB core.img (bytes 512 to 8192) overlap"
	if err := image.Write(t.Context(), w); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	image.Patches[0].Data = make([]byte, 7680)
	if err := image.Write(t.Context(), w); err != nil {
		t.Error(err)
	}
	if got := string(w[8192:8200]); got != "firmware" {
		t.Errorf("at the blob's place: got %q", got)
	}
}

// usedVolume is a volume that knows its free space.
type usedVolume struct {
	fakeVolume
	used, zeros []Extent
}

func (v usedVolume) Used() []Extent  { return v.used }
func (v usedVolume) Zeros() []Extent { return v.zeros }

func TestUsedHasTablesPatchesAndWhatVolumesUse(t *testing.T) {
	t.Parallel()
	l := twoPartitions(t, GPT)
	image := Image{
		Layout:  l,
		Volumes: map[int]Volume{1: usedVolume{used: []Extent{{0, 4096}, {8192, 4096}}}},
		Blobs:   []Patch{{20000, []byte("blob"), "blob"}},
		Patches: []Patch{{0, make([]byte, 440), "code"}, {int64(MiB) + 4096, make([]byte, 10), "note"}},
	}
	want := []Extent{{0, 34 * 512}, {20000, 4}, {int64(MiB), 4106}, {int64(MiB) + 8192, 4096}, {int64(10*MiB) - 33*512, 33 * 512}}
	if got := image.Used(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	image.Volumes[1] = usedVolume{used: []Extent{{0, 4096}, {8192, 4096}}, zeros: []Extent{{100, 8192}, {9000, 1}, {10000, 9000}}}
	data := []Extent{{0, 34 * 512}, {20000, 4}, {int64(MiB), 100}, {int64(MiB) + 4096, 10}, {int64(MiB) + 8292, 708}, {int64(MiB) + 9001, 999}, want[4]}
	if got, known := image.Data(); !known || !reflect.DeepEqual(got, data) {
		t.Errorf("data: got %v, %v, want %v", got, known, data)
	}
	image.Volumes[2] = fakeVolume{}
	if got, known := image.Data(); known {
		t.Errorf("with a volume that does not know its free space: got %v", got)
	}
	want = append(want[:len(want)-1], Extent{int64(3 * MiB), int64(6 * MiB)}, want[len(want)-1])
	if got := image.Used(); !reflect.DeepEqual(got, want) {
		t.Errorf("with a volume that does not know its free space: got %v, want %v", got, want)
	}
}
