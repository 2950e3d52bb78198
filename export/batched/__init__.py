"""Operations on many tasks at once, each with weights of its own, with fast exact derivatives."""
