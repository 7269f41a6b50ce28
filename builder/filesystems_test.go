package builder

import "testing"

func TestExt4HasTheFeaturesOfItsRelease(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"lenny": "1.42", "wheezy": "1.42", "jessie": "1.42", "stretch": "1.42", "buster": "1.44", "bullseye": "1.44", "bookworm": "1.44",
		"trixie": "1.47", "forky": "1.47", "duke": "1.47", "sid": "1.47", "kali-rolling": "1.44", "lucid": "1.42", "trusty": "1.42",
		"xenial": "1.42", "artful": "1.42", "bionic": "1.44", "jammy": "1.44", "noble": "1.44", "oracular": "1.44", "plucky": "1.47", "resolute": "1.47",
	}
	for codename, want := range tests {
		if got := featuresOf("ext4", codename); got != want {
			t.Errorf("%s has those of e2fsprogs %q, want %q", codename, got, want)
		}
	}
	for _, fstype := range []string{"ext2", "f2fs", "vfat", "btrfs"} {
		if got := featuresOf(fstype, "trixie"); got != "" {
			t.Errorf("%s has features %q", fstype, got)
		}
	}
}
