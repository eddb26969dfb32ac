"""What `fab` offers: the verbs of tasks/, in one namespace. No logic here."""

from invoke import Collection

from tasks import lab, rotation

namespace = Collection(rotation.plan, rotation.rotate, lab=lab)
