import { Module } from '@nestjs/common';
import { CitiesModule } from '../cities/cities.module.js';
import { PageController } from './page.controller.js';

@Module({ imports: [CitiesModule], controllers: [PageController] })
export class PageModule {}
