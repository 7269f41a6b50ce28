package builder

import (
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
)

// filesystemTypesOf are the types of the disk's file systems that hold files of the root file system.
func (s Spec) filesystemTypesOf() []filesystem.Type {
	if s.o.Image == "" {
		return nil
	}
	types := []filesystem.Type{filesystem.Lookup(s.o.Roottype)}
	if s.o.Bootsize > 0 {
		types = append(types, filesystem.Lookup(s.o.Boottype))
	}
	return types
}

// filesystemPackages are the packages of the disk's file systems that the target needs.
func (s Spec) filesystemPackages() []string {
	var packages []string
	for _, t := range s.filesystemTypesOf() {
		if t.Package != "" {
			packages = append(packages, t.Package)
		}
	}
	return packages
}

// mkfsTypes are the types of the disk's file systems that programs make.
func (s Spec) mkfsTypes() []filesystem.Type {
	return slices.DeleteFunc(s.filesystemTypesOf(), func(t filesystem.Type) bool { return t.Program == nil })
}

// mkfsPackages are the packages of these programs.
func (s Spec) mkfsPackages() []string {
	var packages []string
	for _, t := range s.mkfsTypes() {
		packages = append(packages, t.Package)
	}
	return packages
}
