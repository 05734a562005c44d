"""Operations on a registry that store nothing here."""
